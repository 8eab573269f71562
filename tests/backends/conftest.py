"""Real hosts with the echo backend, for the tests of this layer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from backends import lock_file
from backends.base import ChatRequest, Message, Partial
from backends.events import Reasoning, Text
from backends.host import launch, spool
from backends.host.client import HostClient
from backends.host.wire import HostSpec, Record, Status
from tests.backends.fake_hub import FakeHub, go_online


class Hosts:
    """Starts echo hosts, asks them and keeps what has to be closed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clients: list[HostClient] = []
        self.steps: list[launch.LaunchStep] = []

    def spec(
        self,
        model: str = "model",
        *,
        keep_alive_s: float = 60.0,
        build: str = "this build",
        drain_s: float = 10.0,
        backend: str = "echo",
        **options: object,
    ) -> HostSpec:
        return HostSpec(backend, model, options, f"Echo {model}", build, keep_alive_s, drain_s)

    async def obtain(self, spec: HostSpec, evict: launch.Evict = "idle") -> HostClient:
        client = await launch.obtain(spec, self.steps.append, evict=evict)
        self.clients.append(client)
        return client

    async def loaded(self, spec: HostSpec) -> HostClient:
        client = await self.obtain(spec)
        await client.loaded()
        return client

    async def ask(
        self, client: HostClient, answer: str = "a1", question: str = "hello", partial: Partial | None = None
    ) -> list[Record]:
        """Ask with a spool, as a person's client does; return all records."""
        return [record async for record in self.stream(client, answer, question, partial)]

    async def stream(
        self, client: HostClient, answer: str = "a1", question: str = "hello", partial: Partial | None = None
    ) -> AsyncIterator[Record]:
        async for record in client.chat(answer, self.request(question, partial), spool.create(answer)):
            yield record

    def request(self, question: str, partial: Partial | None = None) -> ChatRequest:
        return ChatRequest((Message("user", question),), partial=partial)

    def begin(
        self, client: HostClient, answer: str = "a1", question: str = "hello"
    ) -> tuple[asyncio.Task[None], list[Record]]:
        """Ask in a task of its own; the list grows."""
        records: list[Record] = []

        async def run() -> None:
            async for record in self.stream(client, answer, question):
                records.append(record)  # noqa: PERF401 - who watches the list wants each at once

        return asyncio.create_task(run()), records

    async def close(self) -> None:
        for client in self.clients:
            await client.close()


@pytest_asyncio.fixture
async def hosts(home: Path) -> AsyncIterator[Hosts]:
    """Ends every host of the test afterwards."""
    hosts = Hosts(home)
    yield hosts
    await hosts.close()
    kill_hosts(home)


def kill_hosts(home: Path) -> None:
    for lock in home.rglob("hosts/*/lock"):
        if lock_file.held(lock):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(lock.read_text()), signal.SIGKILL)
    launch.reap()


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Wait for a condition that no event announces."""

    async def wait(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not come to that"
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def phase() -> Callable[..., object]:
    """Wait until a client hears of a phase, or of any status that fulfils a condition."""

    async def wait(client: HostClient, wanted: str | Callable[[Status], bool], timeout_s: float = 10.0) -> Status:
        deadline = time.monotonic() + timeout_s
        while not (wanted(client.status) if callable(wanted) else client.status.phase == wanted):
            assert time.monotonic() < deadline, client.status
            await asyncio.sleep(0.005)
        return client.status

    return wait


@pytest.fixture
def said() -> Callable[[list[Record]], str]:
    """The text of records, thoughts left out."""
    return lambda records: "".join(r.event.text for r in records if isinstance(r.event, Text))


@pytest.fixture
def thought() -> Callable[[list[Record]], str]:
    return lambda records: "".join(r.event.text for r in records if isinstance(r.event, Reasoning))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hugging Face of our own, without a file yet."""
    with FakeHub() as hub:
        go_online(monkeypatch, hub.root)
        yield hub
