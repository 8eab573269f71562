"""What the screen begins with, and a question that is sent while it is still opening."""

from __future__ import annotations

import asyncio
import time

import pytest

from backends.events import Done, Text
from tests.tui.screens.conftest import chat_screen, said, settled
from tests.tui.screens.steps import told, until
from tui.app import DeepseekApp
from tui.screens.chat import ChatScreen
from tui.screens.chat.start import Wish
from tui.widgets.composer import Composer


def test_a_question_that_is_sent_before_the_model_is_chosen_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = asyncio.Event()
    refresh = ChatScreen._refresh_lists

    async def held_up(screen: ChatScreen) -> None:
        await go_on.wait()
        await refresh(screen)

    monkeypatch.setattr(ChatScreen, "_refresh_lists", held_up)

    async def run() -> None:
        app = DeepseekApp(Wish(preset="demo"))
        async with app.run_test(size=(80, 24)) as pilot:
            deadline = time.monotonic() + 15
            while not (isinstance(app.screen, ChatScreen) and app.screen._session is not None):
                assert time.monotonic() < deadline
                await pilot.pause(0.02)
            screen = app.screen
            await pilot.press("h", "i", "enter")
            assert screen.query_one(Composer).text == "hi"
            go_on.set()
            while not (screen._session and screen._session.branch and screen._session.branch[-1].state == "done"):
                assert time.monotonic() < deadline
                await pilot.pause(0.02)
            assert [message.text for message in screen._session.branch] == ["hi", "hi"]
            await pilot.press("ctrl+q")

    asyncio.run(run())


def test_a_chat_that_is_not_there_is_told_and_another_can_be_begun() -> None:
    async def run() -> None:
        app = DeepseekApp(Wish(preset="demo", chat="abc"))
        async with app.run_test(size=(80, 24)) as pilot:
            await settled(pilot)
            session = chat_screen(pilot)._session
            assert session is not None
            assert "There is no such chat" in told(pilot)
            await pilot.press("h", "i", "enter")
            await until(pilot, lambda: session.branch and session.branch[-1].state == "done")
            await pilot.press("ctrl+q")

    asyncio.run(run())


@pytest.mark.usefixtures("a_clock_that_goes")
def test_the_last_chat_is_opened_by_that_word() -> None:
    said(("An older one", [Text("a"), Done("stop")]))
    said(("The last one", [Text("b"), Done("stop")]))

    async def run() -> None:
        app = DeepseekApp(Wish(preset="demo", chat="last"))
        async with app.run_test(size=(80, 24)) as pilot:
            await settled(pilot)
            session = chat_screen(pilot)._session
            assert session is not None
            assert session.conversation is not None
            assert session.conversation.title == "The last one"
            await pilot.press("ctrl+q")

    asyncio.run(run())
