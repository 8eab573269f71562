"""`doctor`: what it says on a healthy machine and on sick ones, to a person, to a program and to strangers."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests import fake_driver
from tests.tui.commands.conftest import COMMAND, Run, Write


def checks(ran: Any) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in ran.json["checks"]}


def test_a_healthy_machine_fails_nothing(run: Run) -> None:
    ran = run("doctor", "--json")
    assert ran.status == 0
    assert ran.json["ok"] is True
    found = checks(ran)
    assert [name for name, check in found.items() if check["state"] == "fail"] == []
    assert {"python", "folder: conversations", "memory", "disk", "processor", "logout", "terminal"} <= set(found)
    assert "starter" in found["models"]["found"]
    assert found["backend: llama.cpp"]["state"] in {"ok", "warn"}
    assert set(found["python"]) == {"name", "state", "found", "fix", "harm"}
    assert all(bool(check["harm"]) == (check["state"] != "ok") for check in found.values())
    assert "fail " not in run("doctor").out
    assert ran.err == ""


def test_what_is_broken_fails_with_its_harm_and_the_way_to_mend_it(run: Run, preset: Write, home: Path) -> None:
    preset("bad", context="x")
    (home / "config").mkdir(exist_ok=True)
    (home / "config" / "config.toml").write_text("keep_alive_s = -1\n")
    (home / "data").mkdir()
    (home / "data" / "chats.sqlite3").write_bytes(b"no database" * 100)
    ran = run("doctor", "--json")
    assert ran.status == 1
    found = checks(ran)
    failing = [name for name, check in found.items() if check["state"] == "fail"]
    assert failing == ["conversations", "settings", "preset bad"]
    assert list(found)[:3] == failing
    assert "config.toml, line 1: keep_alive_s" in found["settings"]["found"]
    assert all(found[name]["fix"] and found[name]["harm"] for name in failing)
    out = run("doctor").out
    assert re.match(r"Of \d+ findings 3 fail", out)
    assert "\nfail  preset bad" in out
    assert "      This preset cannot be used; the others can.\n      → " in out
    assert out.index("fail  conversations") < out.index("fail  preset bad") < out.index("ok    python")


def test_a_folder_that_cannot_be_written_fails(run: Run, home: Path) -> None:
    (home / "data").write_text("a file is in the way")
    ran = run("doctor", "--json")
    assert ran.status == 1
    assert checks(ran)["folder: conversations"]["state"] == "fail"


@pytest.fixture
def card(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with an NVIDIA card."""
    return fake_driver.environment(tmp_path / "driver", f"text0 GeForce RTX 3070\nfree0 {7 << 30}\n")


def test_a_cpu_build_beside_a_card_is_the_first_warning(run: Run, card: dict[str, str]) -> None:
    out = run("doctor", env=card).out
    first = out.split("\n\n")[1].splitlines()
    assert first[0].startswith("warn  backend: llama.cpp: ")
    assert ", CPU only: This machine has an NVIDIA driver, but this build of llama.cpp uses only the CPU." in first[0]
    assert first[1] == "      Models run on the processor, several times slower than on the card."
    assert first[2].startswith("      → `make run`")
    assert "ok    card 0: GeForce RTX 3070, 7.5 GB of 8.6 GB free" in out


def test_a_report_holds_the_machine_and_not_who_it_belongs_to(
    run: Run, preset: Write, card: dict[str, str], tmp_path: Path
) -> None:
    preset("cassandra", text="x")
    (tmp_path / "cassiopeia").mkdir()
    secrets = {"USER": "hildegard", "HOME": str(tmp_path / "cassiopeia"), "HF_TOKEN": "hf_verysecretindeed"}
    ran = run("doctor", "--report", env={**card, **secrets})
    assert ran.status == 0
    assert ran.out.startswith("deepseek-tui: report for a bug\n")
    assert 'name = "GeForce RTX 3070"' in ran.out
    assert "the user's own: 1, broken: 0" in ran.out
    for secret in ("cassandra", "cassiopeia", "hildegard", "verysecret", str(tmp_path), "GPU-fake"):
        assert secret.casefold() not in ran.out.casefold()


def test_a_report_and_json_at_once_are_wrong_usage(run: Run) -> None:
    assert run("doctor", "--report", "--json").status == 2


def test_on_a_terminal_it_says_what_it_looks_at_and_takes_that_back(home: Path, tmp_path: Path) -> None:
    (home / "config").mkdir(exist_ok=True)
    (home / "config" / "config.toml").write_text('clipboard = "osc52"\n')
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "tmux").write_text("#!/bin/sh\necho external\n")
    (programs / "tmux").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "TERM": "screen",
        "TMUX": "/tmp/tmux-1/default,1,0",
        "SSH_TTY": "/dev/pts/1",
    }
    child = pexpect.spawn(
        sys.executable, [*COMMAND[1:], "doctor"], env=environment, cwd=str(tmp_path), dimensions=(40, 90), timeout=60
    )
    child.expect(pexpect.EOF)
    said = child.before.decode()
    shown = [line.rpartition("\x1b[K")[2].rstrip("\r") for line in said.split("\n")]
    assert "looking at the engines …" in said
    assert not any("looking at" in line for line in shown)
    assert "warn  terminal: TERM=screen, 16 colours" in shown
    assert "      → In ~/.tmux.conf: set -g default-terminal tmux-256color   then: tmux kill-server, and anew" in shown
    assert 'warn  clipboard: clipboard = "osc52", and tmux has set-clipboard external' in shown
    assert all(len(line) <= 90 for line in shown if line.startswith("ok "))
