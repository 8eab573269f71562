"""`ps` and `stop`: what is loaded, and ending it without ending anybody's answer unasked."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec import to_builtins

from backends.echo import EchoOptions
from backends.host import client, launch
from backends.host.wire import HostSpec
from tests.tui.commands.in_process import runner

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Start, Write


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command within this process."""
    return runner(monkeypatch, capfd, tmp_path)


LONG = "one two three four five six seven eight nine ten " * 40


def test_with_nothing_loaded_both_say_so(here: Run) -> None:
    assert here("ps").out == "No model is loaded.\n"
    assert here("ps", "--json").json == {"hosts": [], "jobs": []}
    assert (here("stop").status, here("stop", "--json").json) == (0, {"hosts": [], "jobs": []})


def test_an_idle_host_is_shown_and_ended(run: Run, here: Run, preset: Write) -> None:
    preset(keep_alive_s=60)
    run("ask", "-p", "echo", "hi")
    (host,) = here("ps", "--json").json["hosts"]
    assert (host["title"], host["backend"], host["phase"], host["responding"]) == ("Echo", "echo", "idle", True)
    assert host["current_build"] is True
    assert host["rss_bytes"] > 1_000_000
    assert 50 < host["ends_in_s"] <= 60
    assert host["idle_s"] < 10
    assert host["answer"] is None
    assert set(host["io"]) == {
        "read_bytes", "page_faults", "written_bytes", "own_written_bytes", "swapped_bytes"
    }  # fmt: skip
    head, line = here("ps").out.splitlines()
    assert head.split()[:3] == ["KEY", "MODEL", "BACKEND"]
    assert line.startswith(host["key"])
    ran = here("stop")
    assert (ran.status, ran.out) == (0, f"Echo (pid {host['pid']}): ended\n")
    assert here("ps", "--json").json == {"hosts": [], "jobs": []}


def test_a_busy_host_is_left_alone_unless_forced(start: Start, run: Run, here: Run, preset: Write) -> None:
    preset(text=LONG, tokens_per_second=10)
    process = start("ask", "-p", "echo", "hi")
    assert process.stdout is not None
    assert process.stdout.read(4) == b"one "
    (host,) = here("ps", "--json").json["hosts"]
    assert host["phase"] == "decode"
    assert host["answer"]
    assert "answering" in here("ps").out
    ran = here("stop")
    assert ran.status == 1
    assert "left alone: answering; --force ends it" in ran.out
    assert process.poll() is None
    assert here("stop", "echo", "--force").status == 0
    assert process.wait(10) == 130
    shown = run("chats", "show", "last", "--json").json["messages"][-1]
    assert shown["state"] == "stopped"
    assert shown["text"].startswith("one two")


def test_a_host_is_ended_by_its_key_its_number_or_its_preset(run: Run, here: Run, preset: Write) -> None:
    preset(keep_alive_s=60)
    preset("other")
    for name in ("key", "pid", "echo"):
        run("ask", "-p", "echo", "hi")
        (host,) = here("ps", "--json").json["hosts"]
        assert here("stop", "other").out == "Not loaded: nothing to end.\n"
        wanted = {"key": host["key"][:6], "pid": str(host["pid"])}.get(name, name)
        assert here("stop", wanted, "--json").json["hosts"][0]["result"] == "ended"
        assert here("ps", "--json").json == {"hosts": [], "jobs": []}


def test_a_name_that_nothing_has_is_an_error(here: Run) -> None:
    ran = here("stop", "nonsense")
    assert ran.status == 1
    assert "No loaded model and no preset is called 'nonsense'" in ran.err


def test_a_host_that_hangs_is_listed_left_alone_and_ended_by_force(
    run: Run, here: Run, preset: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset(keep_alive_s=60)
    run("ask", "-p", "echo", "hi")
    pid = here("ps", "--json").json["hosts"][0]["pid"]
    monkeypatch.setattr(client, "HELLO_S", 0.3)
    os.kill(pid, signal.SIGSTOP)
    (host,) = here("ps", "--json").json["hosts"]
    assert (host["pid"], host["responding"], host["phase"]) == (pid, False, None)
    assert "does not answer" in here("ps").out
    ran = here("stop")
    assert ran.status == 1
    assert "left alone: it does not answer" in ran.out
    ran = here("stop", "--force")
    assert (ran.status, ran.out) == (0, f"host {pid} (pid {pid}): ended\n")
    assert here("stop").status == 0


async def test_a_host_of_an_older_version_is_named_and_replaced_when_idle(run: Run, preset: Write) -> None:
    preset(keep_alive_s=1)
    old = HostSpec("echo", "echo", to_builtins(EchoOptions()), "Echo", "0.0.1+old", 60)
    await (await launch.obtain(old)).close()
    (host,) = run("ps", "--json").json["hosts"]
    assert (host["build"], host["current_build"]) == ("0.0.1+old", False)
    assert "Echo (older build)" in run("ps").out
    check = next(c for c in run("doctor", "--json").json["checks"] if c["name"] == "loaded models")
    assert (check["state"], check["found"]) == ("warn", "Echo was started by another version")
    ran = run("ask", "-p", "echo", "hi")
    assert (ran.status, ran.out) == (0, "hi\n")
    assert ran.err.startswith("ending Echo")
    (host,) = run("ps", "--json").json["hosts"]
    assert host["current_build"] is True
