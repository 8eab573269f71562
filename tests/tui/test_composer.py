"""The composer alone: what is pasted is there once, as lines, with nothing in it that a terminal obeys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from tui.widgets.composer import Composer


class Alone(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.did: list[str] = []

    def compose(self) -> ComposeResult:
        yield Composer()

    def on_composer_did(self, event: Composer.Did) -> None:
        self.did.append(event.what)


def at_it(look: Callable[[Pilot[None], Composer], Awaitable[None]]) -> list[str]:
    app = Alone()

    async def run() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            await look(pilot, app.query_one(Composer))

    asyncio.run(run())
    return app.did


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"], ids=["crlf", "cr", "lf"])
def test_lines_that_are_pasted_are_lines_once_and_send_nothing(end: str) -> None:
    async def look(pilot: Pilot[None], composer: Composer) -> None:
        await pilot.press("a", "b", "left")
        pilot.app.post_message(events.Paste(end.join(["one", "", "two \x1b[31m", ""])))
        await pilot.pause()
        assert composer.text == "aone\n\ntwo ␛[31m\nb"
        assert composer.cursor_location == (3, 0)

    assert at_it(look) == []


def test_a_megabyte_of_lines_stays_usable() -> None:
    async def look(pilot: Pilot[None], composer: Composer) -> None:
        pilot.app.post_message(events.Paste("some words of a line\n" * 50_000))
        await pilot.pause()
        started = time.thread_time()
        await pilot.press("x", "y", "up", "backspace")
        assert composer.text.count("\n") == 50_000
        assert (time.thread_time() - started) / 4 < 0.15

    assert at_it(look) == []


def test_enter_takes_the_text_away_at_once_so_that_the_next_one_is_its_own() -> None:
    async def look(pilot: Pilot[None], composer: Composer) -> None:
        await pilot.press("h", "i", "enter", "enter", "x")
        assert composer.text == "x"

    assert at_it(look) == ["send", "nothing"]


def test_what_comes_back_stands_before_what_was_typed_since() -> None:
    async def look(pilot: Pilot[None], composer: Composer) -> None:
        await pilot.press("x")
        composer.give_back("not sent")
        assert composer.text == "not sent\nx"
        assert composer.cursor_location == (1, 1)
        composer.put("evil \x1b]52;c;x\x07")
        assert composer.text == "evil ␛]52;c;x␇"

    at_it(look)
