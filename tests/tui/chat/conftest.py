"""Sessions on real echo hosts, and a way to wait for what they tell."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backends.base import ChatRequest, Sampling
from backends.host import launch
from backends.host.client import HostClient
from backends.host.wire import HostSpec
from tui.chat.session import Change, Session
from tui.chat.storing.store import Store
from tui.chat.target import Target


def make_target(
    model: str = "model", *, keep_alive_s: float = 60.0, drain_s: float = 10.0, **options: object
) -> Target:
    spec = HostSpec("echo", model, options, f"Echo {model}", "this build", keep_alive_s, drain_s)
    return Target(model, f"Echo {model}", spec, Sampling(), "auto")


class Screen:
    """What a screen is to a session: it hears of changes. `seen` holds what was looked at with each."""

    def __init__(self, look: Callable[[Session], object] | None = None) -> None:
        self.changes: list[Change] = []
        self.seen: list[object] = []
        self._look = look
        self._news = asyncio.Event()
        self.store = Store()
        self.session = Session(self.store, self._changed)

    def _changed(self, change: Change) -> None:
        self.changes.append(change)
        if self._look is not None:
            self.seen.append(self._look(self.session))
        self._news.set()

    async def until(self, condition: Callable[[Session], object], timeout_s: float = 15.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition(self.session):
                self._news.clear()
                await self._news.wait()

    async def ask(self, text: str) -> None:
        await self.session.send(text)
        await self.until(lambda session: not session.busy)

    async def close(self) -> None:
        await self.session.leave()
        self.store.close()


class Screens:
    def __init__(self) -> None:
        self.open: list[Screen] = []

    def __call__(self, target: Target | None = None, look: Callable[[Session], object] | None = None) -> Screen:
        screen = Screen(look)
        self.open.append(screen)
        if target is not None:
            screen.session.choose(target)
        return screen


@pytest_asyncio.fixture
async def screens(home: Path) -> AsyncIterator[Screens]:
    """Makes screens; closes them and ends every host afterwards."""
    made = Screens()
    yield made
    for screen in made.open:
        await screen.close()
    await asyncio.to_thread(kill_hosts, home)


def kill_hosts(home: Path) -> None:
    """Kill every host of this home that still holds its lock."""
    for lock in home.rglob("hosts/*/lock"):
        with lock.open() as held, contextlib.suppress(ValueError, ProcessLookupError):
            try:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                os.kill(int(held.read()), signal.SIGKILL)
    launch.reap()


@pytest.fixture
def end_hosts(home: Path) -> Callable[[], None]:
    return lambda: kill_hosts(home)


@pytest.fixture
def target() -> Callable[..., Target]:
    return make_target


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[ChatRequest]:
    """What the hosts are asked, in order."""
    asked: list[ChatRequest] = []
    chat = HostClient.chat

    def listening(client: HostClient, answer: str, request: ChatRequest, spool: int | None) -> Any:
        asked.append(request)
        return chat(client, answer, request, spool)

    monkeypatch.setattr(HostClient, "chat", listening)
    return asked
