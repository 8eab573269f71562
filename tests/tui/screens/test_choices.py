"""The choices about a conversation that does not fit, and Answer now, by their keys in the running screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList

from tests.tui.screens.conftest import chat_screen, settled
from tui.app import DeepseekApp
from tui.chat.session import Session
from tui.chat.storing.store import Store
from tui.screens.chat.start import Wish
from tui.screens.overflow import OverflowScreen
from tui.widgets.lines import Line
from tui.widgets.transcript import Transcript

LONG = "word " * 250
Steps = Callable[[Pilot[None], Session], Awaitable[None]]


@pytest.fixture(autouse=True)
def _presets(home: Path) -> None:
    folder = home / "config" / "presets"
    for name, options in (
        ("small", f'context = 800\ntext = "{"said " * 50}"'),
        ("thinker", f'tokens_per_second = 60.0\nreasoning = "{"so " * 900}"\ntext = "it is so"'),
    ):
        (folder / f"{name}.toml").write_text(
            f'title = "{name.title()}"\nbackend = "echo"\nkeep_alive_s = 0.1\n[model]\nfamily = "echo"\n'
            f'quantization = "none"\n[backends.echo]\nsource = "server:{name}"\n{options}\n'
        )


def on_the_screen(steps: Steps, preset: str = "small") -> None:
    async def run() -> None:
        app = DeepseekApp(Wish(preset=preset))
        async with app.run_test(size=(80, 24)) as pilot:
            await settled(pilot)
            session = chat_screen(pilot)._session
            assert session is not None
            await steps(pilot, session)
            await pilot.press("ctrl+q")

    asyncio.run(run())


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await pilot.pause(0.02)


async def overflowing(pilot: Pilot[None], session: Session) -> None:
    for number in range(3):
        await session.send(f"question {number} {LONG}")
        await until(pilot, lambda: not session.busy)
    await until(pilot, lambda: offered(pilot))
    await pilot.pause()


def offered(pilot: Pilot[None]) -> bool:
    return isinstance(pilot.app.screen, OverflowScreen)


def answered(session: Session) -> bool:
    return not session.busy and session.branch[-1].state == "done"


@pytest.mark.parametrize(("keys", "context", "mark"), [("1", 800, ""), ("2", 1792, None), ("3", 800, "said")])
def test_each_choice_has_a_key(keys: str, context: int, mark: str | None) -> None:
    async def steps(pilot: Pilot[None], session: Session) -> None:
        await overflowing(pilot, session)
        await pilot.press(keys)
        await until(pilot, lambda: answered(session))
        await pilot.pause()
        assert not offered(pilot)
        assert session.status is not None
        assert session.status.loaded is not None
        assert session.status.loaded.context == context
        start = session.branch[-2].context_start
        assert (start[:4] if start else start) == mark
        shown = [layout.entry.title for layout in pilot.app.screen.query_one(Transcript)._column.layouts]
        assert ("You · not sent" in shown) == (mark is not None)
        assert any("not sent to the model from here up" in title for title in shown) == (mark is not None)

    on_the_screen(steps)


def test_enter_takes_the_choice_that_is_highlighted() -> None:
    async def steps(pilot: Pilot[None], session: Session) -> None:
        await overflowing(pilot, session)
        await pilot.press("down", "enter")
        await until(pilot, lambda: answered(session))
        assert session.target is not None
        assert session.target.spec.options["context"] == 1792

    on_the_screen(steps)


def test_not_now_leaves_it_and_retry_asks_again() -> None:
    async def steps(pilot: Pilot[None], session: Session) -> None:
        await overflowing(pilot, session)
        await pilot.press("escape")
        await until(pilot, lambda: not offered(pilot))
        assert session.remedies.overflow is None
        assert session.branch[-1].state == "failed"
        await pilot.press("ctrl+r")
        await until(pilot, lambda: offered(pilot))

    on_the_screen(steps)


def test_what_is_not_possible_cannot_be_chosen() -> None:
    async def steps(pilot: Pilot[None], session: Session) -> None:
        await session.send("word " * 900)
        await until(pilot, lambda: offered(pilot))
        await pilot.pause()
        options = pilot.app.screen.query_one(OptionList)
        assert [options.get_option_at_index(place).disabled for place in range(3)] == [True, False, True]
        await pilot.press("1", "3")
        await pilot.pause(0.1)
        assert offered(pilot)
        await pilot.press("2")
        await until(pilot, lambda: answered(session))

    on_the_screen(steps)


def test_a_choice_that_fails_leaves_the_others() -> None:
    async def steps(pilot: Pilot[None], session: Session) -> None:
        await overflowing(pilot, session)
        assert session.conversation is not None
        other = Store()
        other.delete(session.conversation.id)
        other.close()
        before = pilot.app.screen
        await pilot.press("1")
        await until(pilot, lambda: offered(pilot) and pilot.app.screen is not before)

    on_the_screen(steps)


def test_the_choices_go_when_another_window_has_gone_on() -> None:
    async def steps(pilot: Pilot[None], session: Session) -> None:
        await overflowing(pilot, session)
        session.remedies.drop()
        await until(pilot, lambda: not offered(pilot))
        assert session.branch[-1].state == "failed"

    on_the_screen(steps)


def test_answer_now_closes_the_thought_and_says_so_where_there_is_none() -> None:
    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("ctrl+y")
        await pilot.pause()
        assert pilot.app.screen.query_one("#progress", Line).text == "There is no thought to close"
        await session.send("why?")
        await until(pilot, lambda: session.answer is not None and session.answer.reasoning_tokens > 5)
        await pilot.press("ctrl+y")
        await until(pilot, lambda: answered(session))
        assert session.branch[-1].text == "it is so"

    on_the_screen(steps, "thinker")
