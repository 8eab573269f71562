"""Steps on the screen that a test of fetches takes, and what it sees there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot

from tests.tui.screens.conftest import chat_screen, settled
from tui.app import DeepseekApp
from tui.chat.session import Session
from tui.screens.chat import ChatScreen
from tui.screens.chat.start import Wish
from tui.screens.fetch import FetchScreen
from tui.widgets.sidebar import PresetList

Steps = Callable[[Pilot[None], Session], Awaitable[None]]


def on_the_screen(steps: Steps, preset: str = "demo") -> None:
    async def run() -> None:
        async with DeepseekApp(Wish(preset=preset or None)).run_test(size=(120, 34)) as pilot:
            await settled(pilot)
            session = chat_screen(pilot)._session
            assert session is not None
            await steps(pilot, session)
            while len(pilot.app.screen_stack) > 2:
                await pilot.press("escape")
            await pilot.press("ctrl+q")

    asyncio.run(run())


async def until(pilot: Pilot[None], true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline, told(pilot)
        await pilot.pause(0.02)


def asked(pilot: Pilot[None]) -> bool:
    return isinstance(pilot.app.screen, FetchScreen)


def told(pilot: Pilot[None]) -> str:
    """All notices in the transcript."""
    screen = pilot.app.screen_stack[1]
    assert isinstance(screen, ChatScreen)
    return "\n".join(f"{one.title}: {one.text}" for one in screen._shown._notices)


def sidebar(pilot: Pilot[None], preset: str) -> str:
    return str(pilot.app.screen_stack[1].query_one(PresetList).get_option(preset).prompt)


def loaded(session: Session, preset: str) -> bool:
    return session.loaded_target is not None and session.loaded_target.preset == preset and not session.loading
