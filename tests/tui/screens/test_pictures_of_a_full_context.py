"""Pictures of what no longer fits, of what is not sent, and of a thought that is to end. See README, "Pictures"."""

from __future__ import annotations

import os

import msgspec
import pytest
from textual.pilot import Pilot

from backends.errors import to_info
from backends.events import Done, PromptProgress, Reasoning, Text, Timings, Usage
from backends.fitting import Fit, overflow
from backends.host import spool
from backends.host.wire import Failed, Record
from tests.tui.screens.conftest import BOTH, THOUGHT, USAGE, WHOLE, chat_screen, picture, said
from tui.chat.overflow import Overflow
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id
from tui.chat.summary import Summarising

LONG = "\n\n".join(f"Paragraph {number}: every token reads all the weights once." for number in range(12))
TALK = (
    ("Why is decode memory-bound on an 8 GB card, and what can I do about it with a 14B model?", WHOLE),
    ("And the KV cache?", [Text("It takes 816 MiB at 8k tokens with q8_0.", 12), Done("stop", USAGE)]),
    ("And flash attention?", [Text("It saves the memory of the scores.", 8), Done("stop", USAGE)]),
)
FAILED = ("So what do I set?", [Failed(to_info(overflow(4312, 4096)))])
FULL = Done("context", Usage(3000, 0, 400, 1096), Timings(0.5, 1.2, 50.0, 23.6))


def mark(question: int, summary: str) -> None:
    """Let sending begin at the question of this number."""
    store = Store()
    branch = store.branch(store.conversations()[0].id)
    last = store.message(branch[-2].id)
    assert last is not None
    questions = [message for message in branch if message.role == "user"]
    store._db.execute("UPDATE message SET context_start = ? WHERE id = ?", (summary, questions[question].id))
    store.close()


def choices(larger: int | None = 8192, first: int | None = 4):
    """Steps to the choices about the last answer."""

    async def offer(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        session = screen._session
        assert session is not None
        branch = session.branch
        fit = Fit(4312, 4096, first, 1204 if first else None)
        unsent = tuple(message.id for message in branch[: first or 0])
        start = branch[first].id if first else None
        session.remedies.overflow = Overflow(branch[-1].id, fit, 4312, unsent, start, "", larger, larger or 4096)
        screen._choices.show(session)

    return offer


@BOTH
def test_a_conversation_that_no_longer_fits(snap_compare, size) -> None:
    said(*TALK, FAILED)
    picture(snap_compare, size, choices(), "down")


@BOTH
def test_a_question_that_is_too_long_for_the_largest_context(snap_compare, size) -> None:
    said(("word " * 200, [Failed(to_info(overflow(4312, 4096)))]))
    picture(snap_compare, size, choices(larger=None, first=None))


@BOTH
def test_not_now_leaves_the_failed_answer_with_its_key(snap_compare, size) -> None:
    said(*TALK[1:], FAILED)
    picture(snap_compare, size, choices(), "escape")


@BOTH
def test_messages_that_are_not_sent(snap_compare, size) -> None:
    said(*TALK[1:], ("So what do I set?", [Text("Set flash_attention on.", 8), Done("stop", USAGE)]))
    mark(2, "")
    picture(snap_compare, size)


@BOTH
def test_a_summary_that_is_sent_instead(snap_compare, size) -> None:
    said(*TALK[1:], ("So what do I set?", [Text("Set flash_attention on.", 8), Done("stop", USAGE)]))
    mark(2, "The user runs a 14B model on an 8 GB card. The KV cache takes 816 MiB at 8k; flash attention saves more.")
    picture(snap_compare, size)


@BOTH
def test_a_summary_on_its_way(snap_compare, size) -> None:
    said(*TALK[1:], FAILED)

    async def summarise(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        assert screen._session is not None
        screen._session.remedies.preparing = Summarising(6, 120)
        screen._show_lines()

    picture(snap_compare, size, summarise)


@BOTH
def test_a_full_context_that_can_be_larger(snap_compare, size) -> None:
    said(("Explain all of it", [Reasoning(THOUGHT, 400), Text("It begins with", 696), FULL]))
    picture(snap_compare, size)


@BOTH
@pytest.mark.parametrize("questions", [1, 2])
def test_a_full_context_that_cannot(snap_compare, size, questions: int) -> None:
    said(*TALK[1:questions], ("Explain all of it", [Reasoning(THOUGHT, 400), Text("It begins with", 696), FULL]))

    async def trained(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        session = screen._session
        assert session is not None
        assert session.status is not None
        assert session.status.loaded is not None
        loaded = msgspec.structs.replace(session.status.loaded, trained_context=4096)
        session._link.status = msgspec.structs.replace(session.status, loaded=loaded)
        screen._show_branch(session)

    picture(snap_compare, size, trained)


@pytest.mark.parametrize("what", ["thinking", "closing", "looping thought", "looping answer", "note"])
@BOTH
def test_an_answer_that_can_be_hurried(snap_compare, size, what: str) -> None:
    said(TALK[1])
    answer = new_id()
    descriptor = spool.create(answer)
    store = Store()
    store.begin(answer, Asked("demo", "echo", "x"), "And without it?", store.conversations()[0].id)
    store.close()

    async def think(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        session = screen._session
        assert session is not None
        assert session.answer is not None
        note = "The kept state of this chat is damaged: reading it anew." if what == "note" else ""
        session.answer.take(Record(answer, 0, 0.0, PromptProgress(900, 900, 800, note)))
        session.running.tell_note(session.answer)
        passage = "Wait, let me check that again. The cache is not what I thought it was. "
        for number in range(1, 120):
            piece = passage if what.startswith("looping") else f"thought {number} "
            event = Text(piece, 1) if what.endswith("answer") else Reasoning(piece, 1)
            session.answer.take(Record(answer, number, number / 23.6, event))
        session.running.hurried = what == "closing"
        await pilot.pause()
        screen._tick()
        screen._show_lines()

    try:
        picture(snap_compare, size, think)
    finally:
        os.close(descriptor)
