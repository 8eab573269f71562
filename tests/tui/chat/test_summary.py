"""A summary in the place of what no longer fits: written, stopped, failing, too long, on a real host."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from backends.host import spool
from tui.chat.history import SUMMARY
from tui.chat.session import Session
from tui.chat.summary import Summarising

CONTEXT = 800  # of which 100 are for the answer
LONG = "word " * 250


async def decided(screen: Any) -> None:
    await screen.until(lambda session: not session.busy)


def short(session: Session) -> list[tuple[str, str, str | None]]:
    return [(m.role, m.text.split()[0] if m.text else "", m.context_start) for m in session.branch]


async def test_a_summary_stands_for_the_old_part(screens: Any, target: Any, requests: Any) -> None:
    screen = screens(
        target(context=CONTEXT, text="in short: words", reasoning="let me think"),
        lambda session: session.remedies.preparing,
    )
    for number in range(2):
        await screen.ask(f"question {number} {'word ' * 320}")
    await screen.ask("and now? " + "word " * 100)
    await decided(screen)
    found = screen.session.remedies.overflow
    assert len(found.unsent) == 4
    rows = len(screen.store.rows("SELECT id FROM message"))
    screen.session.remedies.summarise()
    assert screen.session.busy
    await decided(screen)
    assert [mark for _, _, mark in short(screen.session)] == [None, None, None, None, "in short: words", None]
    assert screen.session.branch[-1].state == "done"
    wish, answer = requests[-2:]
    assert (wish.chat, wish.messages[-1].role) == ("", "user")
    assert "Write a summary of our conversation" in wish.messages[-1].text
    assert answer.messages[0].text == f"{SUMMARY}\n\nin short: words"
    assert [message.role for message in answer.messages] == ["system", "user"]
    assert len(screen.store.rows("SELECT id FROM message")) == rows + 1, "the summary itself is no message"
    assert spool.answers() == []
    seen = [what for what in screen.seen if isinstance(what, Summarising)]
    assert (seen[0], seen[-1].tokens) == (Summarising(4, 0), 6)


async def test_what_is_too_long_for_a_summary_is_cut_from_its_beginning(
    screens: Any, target: Any, requests: Any
) -> None:
    screen = screens(target(context=CONTEXT, text="short"))
    await screen.ask("the-very-beginning " + "word " * 670 + "the-very-end")
    await screen.ask("and now? " + "word " * 100)
    await decided(screen)
    screen.session.remedies.summarise()
    await decided(screen)
    assert screen.session.branch[-1].state == "done"
    old = requests[-2].messages[0].text
    assert old.startswith("…")
    assert "the-very-end" in old
    assert "the-very-beginning" not in old


async def test_a_summary_that_is_stopped_leaves_everything_as_it_was(screens: Any, target: Any) -> None:
    # Instant answers to the questions, and a long one to the wish for a summary: echo repeats what it was asked.
    screen = screens(target(context=CONTEXT, repeat=1, tokens_per_second=400.0))
    await screen.ask(f"question 0 {LONG}")
    await screen.ask(f"question 1 {LONG}")
    await decided(screen)
    found = screen.session.remedies.overflow
    before = list(screen.session.branch)
    screen.session.remedies.summarise()
    await screen.until(lambda session: (session.remedies.preparing or Summarising(0)).tokens > 3)
    await screen.session.stop()
    await decided(screen)
    assert screen.session.remedies.overflow == found
    assert screen.session.branch == before
    assert screen.session.problem is None
    assert screen.changes[-1] == "overflow"
    await screen.until(lambda session: session.status.answer is None)


async def test_a_summary_whose_host_dies_leaves_everything_as_it_was(screens: Any, target: Any) -> None:
    screen = screens(target(context=CONTEXT, tokens_per_second=400.0))
    await screen.ask(f"question 0 {LONG}")
    await screen.ask(f"question 1 {LONG}")
    await decided(screen)
    found = screen.session.remedies.overflow
    screen.session.remedies.summarise()
    await screen.until(lambda session: (session.remedies.preparing or Summarising(0)).tokens > 3)
    os.kill(screen.session.host_pid, signal.SIGKILL)
    await decided(screen)
    assert "its process ended" in screen.session.problem.title
    assert screen.session.remedies.overflow == found
    await screen.session.remedies.go_on_without()
    await decided(screen)
    assert screen.session.branch[-1].state == "done"


async def test_a_model_that_writes_no_summary_is_told(screens: Any, target: Any) -> None:
    screen = screens(target(context=CONTEXT, text=" "))
    for number in range(3):
        await screen.ask(f"question {number} {LONG}")
    await decided(screen)
    found = screen.session.remedies.overflow
    assert found.unsent
    screen.session.remedies.summarise()
    await decided(screen)
    assert "wrote no summary" in screen.session.problem.title
    assert screen.session.remedies.overflow == found


async def test_where_only_the_old_summary_is_too_much_it_is_left_out(screens: Any, target: Any, requests: Any) -> None:
    screen = screens(target(context=CONTEXT, text="sum " * 60))
    await screen.ask(f"one {LONG}")
    await screen.ask("two " + "word " * 500)
    await decided(screen)
    screen.session.remedies.summarise()
    await decided(screen)
    assert screen.session.branch[-1].state == "done"
    await screen.ask("three " + "word " * 660)
    await decided(screen)
    found = screen.session.remedies.overflow
    assert found.summary == ""
    assert found.start == screen.session.branch[-2].id
    await screen.session.remedies.go_on_without()
    await decided(screen)
    assert screen.session.branch[-1].state == "done"
    assert [message.role for message in requests[-1].messages] == ["user"]


async def test_leaving_while_a_summary_is_written_stops_it(screens: Any, target: Any) -> None:
    screen = screens(target(context=CONTEXT, tokens_per_second=400.0))
    await screen.ask(f"question 0 {LONG}")
    await screen.ask(f"question 1 {LONG}")
    await decided(screen)
    screen.session.remedies.summarise()
    await screen.until(lambda session: (session.remedies.preparing or Summarising(0)).tokens > 3)
    await screen.session.new()
    assert not screen.session.busy
    await asyncio.sleep(0.3)
    assert screen.session.status.answer is None
    assert screen.session.branch == []
