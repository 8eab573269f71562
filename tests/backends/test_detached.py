"""A detached process outlives the line, also where logind ends what a login began: then it is moved into a scope."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends import detached
from backends.hardware import logind
from backends.host import launch
from backends.host.wire import HostSpec
from backends.jobs import launch as jobs
from backends.jobs.job import JobSpec
from tests.backends.kernel_world import machine
from tests.backends.watching import ended

KILLS = "[Login]\nKillUserProcesses=yes\n"
SESSION = "0::/user.slice/user-1000.slice/session-7.scope\n"
BECOMES = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'
SAYS = "import os, sys; print(os.getpid(), os.getsid(0), sys.stdin.read() == '', os.getcwd(), *sys.argv[1:])"


@pytest.fixture
def systemd_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Stand-in on PATH, on a machine that ends everything at logout: it notes how it was called, then runs a script."""
    root = machine(tmp_path / "root", {"run/systemd/system/x": "", "etc/systemd/logind.conf": KILLS})
    machine(root, {"proc/self/cgroup": SESSION, "run/user/1000/systemd/private": ""})
    ends, can = logind.ends_with_login, logind.can_scope
    monkeypatch.setattr(logind, "ends_with_login", lambda: ends(root, "ann"))
    monkeypatch.setattr(logind, "can_scope", lambda: can(root, {"XDG_RUNTIME_DIR": "/run/user/1000"}))
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    def write(script: str) -> Path:
        calls = tmp_path / "calls"
        program = programs / "systemd-run"
        program.write_text(f'#!/bin/sh\necho "$$ $@" >>{calls}\n{script}\n')
        program.chmod(0o755)
        return calls

    return write


@pytest.fixture
def log(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "log", os.O_CREAT | os.O_RDWR, 0o600)
    yield descriptor
    os.close(descriptor)


def said(log: int) -> list[str]:
    return os.pread(log, 4096, 0).decode().split()


def test_it_has_a_session_of_its_own_and_hears_nothing(log: int) -> None:
    child = detached.start([sys.executable, "-c", SAYS, "a b"], log)
    assert child.wait(10) == 0
    assert said(log) == [str(child.pid), str(child.pid), "True", "/", "a", "b"]
    assert os.getsid(0) != child.pid


def test_where_logind_would_end_it_it_is_started_in_a_scope_and_keeps_number_and_descriptors(
    systemd_run: Callable[[str], Path], log: int
) -> None:
    calls = systemd_run(BECOMES)
    kept, other = os.pipe()
    code = "import os, sys; os.write(int(sys.argv[1]), b'kept')"
    child = detached.start([sys.executable, "-c", code, str(other)], log, (other,))
    assert child.wait(10) == 0
    assert os.read(kept, 10) == b"kept"
    assert calls.read_text().startswith(f"{child.pid} --user --scope --quiet -- {sys.executable} -c")
    os.close(kept)
    os.close(other)


@pytest.mark.parametrize(
    ("script", "most_s"), [("echo Failed to connect to bus >&2; exit 1", 1.0), ("exec sleep 30", 3.0)]
)
def test_a_scope_that_fails_or_hangs_is_done_without_soon(
    systemd_run: Callable[[str], Path], log: int, script: str, most_s: float
) -> None:
    calls = systemd_run(script)
    started = time.monotonic()
    child = detached.start([sys.executable, "-c", SAYS], log)
    assert time.monotonic() - started < most_s
    assert child.wait(10) == 0
    assert str(child.pid) in said(log)
    tried = int(calls.read_text().split()[0])
    assert tried != child.pid
    assert not Path(f"/proc/{tried}").exists()


def test_where_nothing_is_ended_no_scope_is_asked_for(
    systemd_run: Callable[[str], Path], log: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = systemd_run(BECOMES)
    monkeypatch.setattr(logind, "ends_with_login", lambda: False)
    assert detached.start([sys.executable, "-c", SAYS], log).wait(10) == 0
    monkeypatch.setattr(logind, "ends_with_login", lambda: True)
    monkeypatch.setattr(logind, "can_scope", lambda: False)
    assert detached.start([sys.executable, "-c", SAYS], log).wait(10) == 0
    assert not calls.exists()


def test_only_a_login_whose_programs_are_known_to_end_needs_one(tmp_path: Path) -> None:
    root = machine(tmp_path, {"proc/self/cgroup": SESSION, "etc/systemd/logind.conf": KILLS})
    assert not logind.ends_with_login(root, "ann")  # no systemd
    machine(root, {"run/systemd/system/x": ""})
    assert logind.ends_with_login(root, "ann")
    assert not logind.ends_with_login(root, "root")
    machine(root, {"etc/systemd/logind.conf": ""})
    # Not told: into the manager would be worse than staying, where the manager is what ends.
    assert not logind.ends_with_login(root, "ann")
    machine(
        root, {"proc/self/cgroup": "0::/user.slice/user@1000.service/vte.scope\n", "etc/systemd/logind.conf": KILLS}
    )
    assert not logind.ends_with_login(root, "ann")


async def test_a_host_is_started_in_a_scope_found_and_ended_as_ever(systemd_run: Callable[[str], Path]) -> None:
    calls = systemd_run(BECOMES)
    spec = HostSpec("echo", "m", {}, "Echo", "this build", 5.0)
    client = await launch.obtain(spec)
    await client.loaded()
    assert calls.read_text().split()[0] == str(client.welcome.pid)
    (view,) = await launch.survey()
    assert view.pid == client.welcome.pid
    await client.close()
    assert await launch.end(view)


def test_a_job_is_started_in_a_scope_too(systemd_run: Callable[[str], Path], home: Path) -> None:
    calls = systemd_run(BECOMES)
    file = {"owner": "me", "repo": "some", "file": "one.gguf"}
    begun = jobs.start(JobSpec("pull", "one.gguf", "one", {"file": file, "folder": str(home), "patience_s": 1}))
    assert calls.read_text().split()[0] == str(begun.pid)
    assert ended(begun.key).state == "failed"  # Nothing is fetched in tests.


async def test_a_host_whose_scope_hangs_starts_all_the_same_and_the_screen_does_not_stand_still(
    systemd_run: Callable[[str], Path],
) -> None:
    systemd_run("exec sleep 30")
    gaps, last, over = [0.0], time.monotonic(), asyncio.Event()

    async def beat() -> None:
        nonlocal last
        while not over.is_set():
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    beating = asyncio.create_task(beat())
    client = await launch.obtain(HostSpec("echo", "m", {}, "Echo", "this build", 5.0))
    over.set()
    await beating
    await client.loaded()
    assert max(gaps) < 0.5
    await client.close()
    (view,) = await launch.survey()
    assert await launch.end(view)


async def test_a_launch_that_is_given_up_while_a_scope_is_waited_for_leaves_no_process(
    systemd_run: Callable[[str], Path], home: Path
) -> None:
    systemd_run("exec sleep 30")
    launching = asyncio.create_task(launch.obtain(HostSpec("echo", "m", {}, "Echo", "this build", 5.0)))
    await asyncio.sleep(0.3)
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    deadline = time.monotonic() + 5
    while any(child.poll() is None for child in launch._children):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    launch.reap()
    assert await launch.survey() == []
