"""The screen with chats in it, as somebody uses it: keys, and what is on the terminal then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot
from textual.widget import Widget

from tests.tui.screens.conftest import chat_screen, settled
from tui.app import DeepseekApp
from tui.chat.session import Session
from tui.screens.chat.start import Wish

Look = Callable[["Person"], Awaitable[None]]


class Person:
    """Somebody at the keyboard."""

    def __init__(self, pilot: Pilot[None]) -> None:
        self.pilot = pilot
        self.screen = chat_screen(pilot)

    @property
    def session(self) -> Session:
        session = self.screen._session
        assert session is not None
        return session

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.session.branch]

    def shown(self) -> str:
        """What the terminal shows."""
        return "\n".join(strip.text for strip in self.pilot.app.screen._compositor.render_strips())

    def told(self) -> str:
        """What is said over the conversation, because it is longer than its line."""
        return "\n".join(note.message for note in self.pilot.app._notifications)

    async def goes_to(self, kind: type[Widget]) -> None:
        self.screen.query_one(kind).focus()
        await self.pilot.pause()

    async def types(self, *keys: str) -> None:
        """Press keys."""
        await self.pilot.press(*keys)

    async def until(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.shown()
            await self.pilot.pause(0.02)
        await self.pilot.pause()

    async def waits(self) -> None:
        """Wait until nothing is answered any more."""
        await self.until(lambda: not self.session.busy)
        await self.pilot.pause(0.05)


def at_the_screen(
    look: Look, size: tuple[int, int] = (120, 34), preset: str = "demo", *, notifications: bool = False
) -> None:
    """Open the screen, let `look` use it, and leave."""

    async def run() -> None:
        async with DeepseekApp(Wish(preset=preset)).run_test(size=size, notifications=notifications) as pilot:
            await settled(pilot)
            await look(Person(pilot))

    asyncio.run(run())
