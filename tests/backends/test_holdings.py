"""What a killed host left in a server is freed by the next one, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from backends import holdings, paths, registry
from backends.echo import EchoBackend
from backends.host import launch
from backends.host.wire import HostSpec
from tests.backends.fake_ollama import FakeModel, FakeOllama, InMemory

_KEEPER = """
import sys, time
from backends import holdings
holdings.hold(sys.argv[1], sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


def left_behind(backend: str, holding: str) -> None:
    """Hold something in a process that is killed."""
    child = keeper(backend, holding)
    child.kill()
    child.communicate()


def keeper(backend: str, holding: str) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", _KEEPER, backend, holding], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def notes() -> list[Path]:
    return sorted((paths.state() / "holdings").glob("*"))


class Freed(EchoBackend):
    """Remembers what it was told to free."""

    freed: ClassVar[list[str]] = []

    @classmethod
    def release(cls, holding: str) -> None:
        cls.freed.append(holding)
        if holding == "breaks":
            raise RuntimeError("the server is gone")


@pytest.fixture
def freed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(registry, "find", lambda _name: Freed)
    Freed.freed = []
    return Freed.freed


def test_what_a_killed_process_held_is_freed_once(freed: list[str]) -> None:
    left_behind("echo", "a model")
    holdings.release_orphans()
    holdings.release_orphans()
    assert freed == ["a model"]
    assert notes() == []


def test_what_a_living_process_holds_is_left_alone(freed: list[str]) -> None:
    child = keeper("echo", "a model")
    try:
        holdings.release_orphans()
        assert freed == []
        assert len(notes()) == 1
    finally:
        child.kill()
        child.communicate()


def test_what_a_living_process_holds_too_is_not_freed_for_a_dead_one(freed: list[str]) -> None:
    left_behind("echo", "a model")
    mine = holdings.hold("echo", "a model")
    holdings.release_orphans()
    assert freed == []
    assert len(notes()) == 1
    mine.drop()
    assert notes() == []


def test_what_two_dead_processes_held_is_freed_once(freed: list[str]) -> None:
    left_behind("echo", "a model")
    left_behind("echo", "a model")
    left_behind("echo", "another")
    holdings.release_orphans()
    assert sorted(freed) == ["a model", "another"]
    assert notes() == []


def test_a_dropped_holding_is_no_orphan_and_dropping_it_again_is_harmless(freed: list[str]) -> None:
    mine = holdings.hold("echo", "a model")
    mine.drop()
    mine.drop()
    holdings.release_orphans()
    assert freed == []


def test_a_release_that_fails_does_not_hinder_the_others(freed: list[str]) -> None:
    left_behind("echo", "breaks")
    left_behind("echo", "a model")
    holdings.release_orphans()
    assert sorted(freed) == ["a model", "breaks"]
    assert notes() == []


def test_a_damaged_note_is_deleted(freed: list[str]) -> None:
    left_behind("echo", "a model")
    notes()[0].write_bytes(b'{"backend": "ec')
    holdings.release_orphans()
    assert freed == []
    assert notes() == []


def test_a_note_of_a_backend_that_is_gone_is_deleted() -> None:
    left_behind("no-such-backend", "a model")
    holdings.release_orphans()
    assert notes() == []


def test_notes_are_for_their_owner_alone() -> None:
    mine = holdings.hold("echo", "a model")
    assert notes()[0].stat().st_mode & 0o077 == 0
    assert notes()[0].parent.stat().st_mode & 0o077 == 0
    mine.drop()


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    with FakeOllama() as fake:
        fake.models["tiny:latest"] = FakeModel()
        fake.models["other:latest"] = FakeModel()
        yield fake


def spec(server: FakeOllama, model: str = "tiny") -> HostSpec:
    return HostSpec("ollama", model, {"host": server.url}, model, "this build", 60.0, 10.0)


async def test_a_fresh_host_frees_what_a_killed_one_had_loaded(hosts: Any, server: FakeOllama) -> None:
    client = await hosts.loaded(spec(server))
    assert list(server.loaded) == ["tiny:latest"]
    os.kill(client.welcome.pid, signal.SIGKILL)
    await client.close()
    await hosts.loaded(HostSpec("echo", "m", {}, "Echo", "this build", 60.0, 10.0))
    assert server.loaded == {}
    assert notes() == []


async def test_a_host_that_ends_in_peace_frees_what_it_had_loaded(
    hosts: Any, server: FakeOllama, eventually: Callable[..., Any]
) -> None:
    await hosts.loaded(spec(server))
    await launch.obtain(HostSpec("echo", "m", {}, "Echo", "this build", 60.0, 10.0), lambda _step: None)
    await eventually(lambda: not server.loaded)
    assert notes() == []


async def test_a_killed_host_leaves_alone_what_others_had_loaded(hosts: Any, server: FakeOllama) -> None:
    server.loaded["tiny:latest"] = InMemory(8192, 0, "24h")
    client = await hosts.loaded(spec(server))
    os.kill(client.welcome.pid, signal.SIGKILL)
    await client.close()
    await hosts.loaded(HostSpec("echo", "m", {}, "Echo", "this build", 60.0, 10.0))
    assert server.loaded["tiny:latest"].keep_alive == "24h"


async def test_a_server_that_is_gone_does_not_hold_up_the_next_host(hosts: Any) -> None:
    left_behind("ollama", msgspec.json.encode({"server": "http://127.0.0.1:9", "model": "tiny"}).decode())
    started = time.monotonic()
    await hosts.loaded(HostSpec("echo", "m", {}, "Echo", "this build", 60.0, 10.0))
    assert time.monotonic() - started < 15
    assert notes() == []
