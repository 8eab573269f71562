"""Answer now: a thought is closed on demand, here and from another screen; and what an engine has to say meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.events import Done, PromptProgress, Reasoning, Text
from backends.host.wire import Record
from tui.chat import turn
from tui.chat.answer import Answer
from tui.chat.session import Session

THINKING = {"reasoning": "so " * 600, "text": "it is so", "tokens_per_second": 60.0}


def thinking(session: Session) -> bool:
    return session.answer is not None and session.answer.reasoning_tokens > 5


async def test_a_thought_is_closed_and_the_answer_follows(screens: Any, target: Any) -> None:
    screen = screens(target(**THINKING), lambda session: session.running.hurried)
    await screen.session.send("why?")
    await screen.until(thinking)
    assert not screen.session.running.hurried
    assert await screen.session.answer_now()
    assert screen.session.running.hurried
    assert screen.seen[-1] is True, "the screen hears of it at once"
    await screen.until(lambda session: not session.busy, 5)
    last = screen.session.branch[-1]
    assert (last.text, last.state) == ("it is so", "done")
    assert 5 < last.usage.reasoning_tokens < 600


async def test_where_no_thought_is_open_there_is_nothing_to_close(screens: Any, target: Any) -> None:
    screen = screens(target(text="word " * 300, tokens_per_second=60.0))
    assert not await screen.session.answer_now()
    await screen.session.send("why?")
    await screen.until(lambda session: session.answer is not None and len(session.answer.text) > 20)
    assert not await screen.session.answer_now()
    assert not screen.session.running.hurried
    await screen.session.stop()


async def test_another_screen_can_close_the_thought(screens: Any, target: Any) -> None:
    first = screens(target(**THINKING))
    await first.session.send("why?")
    await first.until(thinking)
    second = screens()
    await second.session.open(first.session.conversation.id)
    await second.until(thinking)
    assert second.session.running.watching
    assert await second.session.answer_now()
    await second.until(lambda session: not session.busy, 5)
    assert second.session.branch[-1].text == "it is so"
    await first.until(lambda session: not session.busy, 5)


async def test_the_next_answer_is_not_hurried(screens: Any, target: Any) -> None:
    screen = screens(target(**THINKING))
    await screen.session.send("why?")
    await screen.until(thinking)
    await screen.session.answer_now()
    await screen.until(lambda session: not session.busy, 5)
    await screen.session.retry()
    assert not screen.session.running.hurried
    await screen.until(thinking)
    await screen.session.stop()


async def test_what_the_engine_has_to_say_is_told_once(
    screens: Any, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [
        PromptProgress(64, 200, note="The kept state of this chat is damaged: reading it anew."),
        PromptProgress(128, 200, note="The kept state of this chat is damaged: reading it anew."),
        PromptProgress(200, 200),
        Reasoning("hm"),
        Text("yes"),
        Done("stop"),
    ]

    async def generate(
        answer_id: str, request: object, connect: object, descriptor: int, answer: Answer
    ) -> AsyncIterator[Answer]:
        for number, event in enumerate(events):
            answer.take(Record(answer_id, number, 0.0, event))
            yield answer

    screen = screens(target())
    monkeypatch.setattr(turn, "generate", generate)
    await screen.session.send("why?")
    await screen.until(lambda session: not session.busy)
    assert screen.changes.count("note") == 1
    assert screen.session.running.note == "The kept state of this chat is damaged: reading it anew."
    await screen.session.send("and now?")
    assert screen.session.running.note == ""
    await screen.until(lambda session: not session.busy)
    assert screen.changes.count("note") == 2
