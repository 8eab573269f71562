"""Several sessions on the same data and hosts, and a disk that does not do what it should."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from typing import Any

import pytest

from backends import paths
from backends.events import Text
from backends.host import launch, spool
from backends.host.wire import Unsaved
from tui.chat import running as module
from tui.chat.answer import fold
from tui.chat.session import Session
from tui.chat.storing.stored import StoreError

COUNT = " ".join(str(number) for number in range(60))


def texts(session: Session) -> list[str]:
    return [message.text for message in session.branch]


async def test_two_screens_watch_the_same_answer_and_see_the_same(screens: Any, target: Any) -> None:
    counting = target(text=COUNT, reasoning="well well", tokens_per_second=60.0)
    first, second = screens(counting), screens(target("other"))
    await first.session.send("count")
    await first.until(lambda session: session.answer.text)
    await second.session.open(first.session.conversation.id)
    await second.until(lambda session: session.answer.text)
    grown = fold(spool.read(first.session.answering.id))
    assert second.session.answer.text.startswith(grown.text)
    await first.until(lambda session: not session.busy)
    await second.until(lambda session: not session.busy)
    assert first.session.branch == second.session.branch
    assert texts(first.session) == ["count", COUNT]
    assert spool.answers() == []


@pytest.mark.parametrize("own", [False, True], ids=["another model", "the same model"])
async def test_who_watches_can_stop_the_answer(screens: Any, target: Any, own: bool) -> None:
    counting = target(text=COUNT * 20, tokens_per_second=60.0)
    first = screens(counting)
    await first.session.send("count")
    await first.until(lambda session: session.answer.text)
    second = screens(counting if own else None)
    await second.session.open(first.session.conversation.id)
    await second.until(lambda session: session.answer.text)
    await second.session.stop()
    for screen in (first, second):
        await screen.until(lambda session: not session.busy, 3)
        assert screen.session.branch[-1].state == "stopped"


async def test_who_watches_learns_when_the_host_dies(screens: Any, target: Any) -> None:
    first = screens(target(text=COUNT * 20, tokens_per_second=60.0))
    await first.session.send("count")
    await first.until(lambda session: session.answer.text)
    second = screens()
    await second.session.open(first.session.conversation.id)
    await second.until(lambda session: session.answer.text)
    os.kill(first.session.host_pid, signal.SIGKILL)
    for screen in (first, second):
        await screen.until(lambda session: not session.busy, 5)
        assert screen.session.branch[-1].state == "interrupted"
    assert first.session.branch == second.session.branch


async def test_what_another_screen_did_is_taken_in(screens: Any, target: Any) -> None:
    first, second = screens(target()), screens()
    await first.ask("one")
    await second.session.open(first.session.conversation.id)
    await second.session.refresh()
    assert not await second.session.refresh()
    await first.ask("two")
    assert await second.session.refresh()
    assert texts(second.session) == ["one", "one", "two", "two"]
    assert not await second.session.refresh()


async def test_a_refresh_follows_an_answer_that_another_began(screens: Any, target: Any) -> None:
    first, second = screens(target(text=COUNT, tokens_per_second=60.0)), screens()
    await first.ask("one")
    await second.session.open(first.session.conversation.id)
    await first.session.send("two")
    assert await second.session.refresh()
    assert second.session.busy
    await second.until(lambda session: not session.busy)
    assert texts(second.session) == ["one", COUNT, "two", COUNT]


async def test_a_refresh_that_cannot_read_comes_back_to_it(screens: Any, target: Any) -> None:
    first, second = screens(target()), screens()
    await first.ask("one")
    await second.session.open(first.session.conversation.id)
    await first.ask("two")
    second.store._db.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(paths.database(), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert not await second.session.refresh()
    other.execute("ROLLBACK")
    other.close()
    assert await second.session.refresh()
    assert len(second.session.branch) == 4


async def test_a_question_to_another_model_waits_in_line_visibly_and_nothing_is_evicted(
    screens: Any, target: Any
) -> None:
    first = screens(target("one", text="a b c d e f g h", tokens_per_second=15.0))
    second = screens(look=lambda session: session.step)
    second.session.target = target("two")
    await first.session.send("q")
    await first.until(lambda session: session.answer.text)
    await second.session.send("and mine?")
    await second.until(lambda session: not session.busy)
    assert launch.Waiting("Echo one", "decode") in second.seen
    await first.until(lambda session: not session.busy)
    assert (first.session.branch[-1].state, texts(first.session)[-1]) == ("done", "a b c d e f g h")
    assert texts(second.session) == ["and mine?", "and mine?"]
    assert first.session.problem is None


async def test_stop_while_waiting_in_line(screens: Any, target: Any) -> None:
    first = screens(target("one", text=COUNT * 20, tokens_per_second=60.0))
    second = screens()
    second.session.target = target("two")
    await first.session.send("q")
    await first.until(lambda session: session.answer.text)
    await second.session.send("and mine?")
    await second.until(lambda session: isinstance(session.step, launch.Waiting))
    await second.session.stop()
    await second.until(lambda session: not session.busy, 2)
    assert (second.session.branch[-1].state, second.session.step) == ("stopped", None)
    assert first.session.busy
    assert spool.answers() == [first.session.answering.id]
    await first.session.stop()
    await first.until(lambda session: not session.busy)


async def test_a_place_in_the_line_of_the_same_model_can_be_given_up(screens: Any, target: Any) -> None:
    slow = target(text=COUNT * 20, tokens_per_second=60.0)
    first, second = screens(slow), screens(slow)
    await first.session.send("q")
    await first.until(lambda session: session.answer.text)
    await second.session.send("and mine?")
    await second.until(lambda session: session.status and session.answering.id in session.status.waiting)
    await second.session.stop()
    await second.until(lambda session: not session.busy, 2)
    assert second.session.branch[-1].state == "stopped"
    assert first.session.busy
    await first.session.stop()
    await first.until(lambda session: not session.busy)


async def test_an_answer_that_cannot_be_saved_stays_on_the_screen_and_is_saved_later(
    screens: Any, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_AGAIN_S", 0.1)
    screen = screens(target(text="a b c d e f", tokens_per_second=30.0), lambda session: session.unsaved)
    await screen.session.send("q")
    await screen.until(lambda session: session.answer.text)
    screen.store._db.execute("PRAGMA query_only = ON")
    await screen.until(lambda session: session.unsaved)
    assert "readonly" in screen.session.unsaved
    assert (screen.session.busy, screen.session.answer.text) == (True, "a b c d e f")
    assert spool.read(screen.session.answering.id)[-1].final
    await screen.session.stop()  # what is said is said: there is nothing to stop
    await asyncio.sleep(0.15)
    assert (screen.session.busy, screen.session.answer.text) == (True, "a b c d e f")
    screen.store._db.execute("PRAGMA query_only = OFF")
    await screen.until(lambda session: not session.busy)
    assert (texts(screen.session)[-1], screen.session.unsaved) == ("a b c d e f", "")
    assert screen.session.branch[-1].state == "done"
    assert spool.answers() == []


async def test_an_answer_that_could_not_be_saved_before_leaving_is_taken_in_next_time(
    screens: Any, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_AGAIN_S", 0.1)
    screen = screens(target(text="a b c d e f", tokens_per_second=30.0))
    await screen.session.send("q")
    await screen.until(lambda session: session.answer.text)
    screen.store._db.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(paths.database(), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    await screen.until(lambda session: session.unsaved)
    assert "locked" in screen.session.unsaved
    conversation = screen.session.conversation.id
    await screen.session.leave()
    other.execute("ROLLBACK")
    other.close()
    again = screens()
    await again.session.open(conversation)
    await again.until(lambda session: not session.busy)
    assert texts(again.session) == ["q", "a b c d e f"]


async def test_a_question_that_cannot_be_saved_is_not_sent(screens: Any, target: Any) -> None:
    screen = screens(target())
    screen.store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="readonly"):
        await screen.session.send("q")
    assert (screen.session.busy, screen.session.branch, spool.answers()) == (False, [], [])
    screen.store._db.execute("PRAGMA query_only = OFF")
    await screen.ask("q")


async def test_a_spool_that_cannot_be_made_is_told_and_nothing_is_sent(screens: Any, target: Any) -> None:
    screen = screens(target())
    paths.private(paths.state())
    paths.spools().write_text("a file in the way")
    with pytest.raises(StoreError, match="nothing was sent"):
        await screen.session.send("q")
    assert screen.store.conversations() == []
    assert not screen.session.busy


async def test_trouble_with_the_spool_of_this_answer_and_no_other_is_told(screens: Any, target: Any) -> None:
    screen = screens(target(text=COUNT, tokens_per_second=60.0))
    await screen.session.send("q")
    await screen.until(lambda session: session.answer.text)
    tell = screen.session._link.client.on_unsaved
    tell(Unsaved("another", "No space left on device"))
    assert screen.session.unsaved == ""
    tell(Unsaved(screen.session.answering.id, "No space left on device"))
    assert screen.session.unsaved == "No space left on device"
    tell(Unsaved(screen.session.answering.id, ""))
    assert screen.session.unsaved == ""
    await screen.until(lambda session: not session.busy)


async def test_the_host_tells_when_its_disk_is_full_and_the_answer_still_comes(screens: Any, target: Any) -> None:
    """The host's file size is limited from outside, as a full disk would: real writes fail for real."""
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs prlimit")
    screen = screens(target(text=COUNT, tokens_per_second=40.0), lambda session: session.unsaved)
    await screen.until(lambda session: session.host_pid and not session.loading)
    resource.prlimit(screen.session.host_pid, resource.RLIMIT_FSIZE, (600, resource.RLIM_INFINITY))
    await screen.session.send("q")
    await screen.until(lambda session: session.unsaved)
    assert screen.session.unsaved == "File too large"
    limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(screen.session.host_pid, resource.RLIMIT_FSIZE, limits)
    await screen.until(lambda session: not session.unsaved)
    assert screen.session.busy
    answer = screen.session.answering.id
    records = spool.read(answer)
    assert [r.seq for r in records] == list(range(len(records)))
    assert "".join(r.event.text for r in records if isinstance(r.event, Text))
    await screen.until(lambda session: not session.busy)
    assert texts(screen.session)[-1] == COUNT


async def test_a_watcher_that_leaves_keeps_no_host_alive(screens: Any, target: Any) -> None:
    first = screens(target(text=COUNT, tokens_per_second=60.0, keep_alive_s=0.2))
    await first.session.send("q")
    await first.until(lambda session: session.answer.text)
    second = screens()
    await second.session.open(first.session.conversation.id)
    await second.until(lambda session: session.answer.text)
    await second.session.new()
    await first.session.leave()
    left = time.monotonic()
    while await launch.survey():
        assert time.monotonic() - left < 5
        await asyncio.sleep(0.05)
