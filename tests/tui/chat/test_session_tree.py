"""The tree of a conversation as a session shows it: edits, retries in the middle, versions, what is deleted."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from backends import paths
from tui.chat.session import Session
from tui.chat.storing import opened, shelf
from tui.chat.storing.stored import StoreError


def texts(session: Session) -> list[str]:
    return [message.text for message in session.branch]


def ids(session: Session) -> list[str]:
    return [message.id for message in session.branch]


async def settled(screen: Any) -> None:
    await screen.until(lambda session: not session.busy)


async def test_an_edited_question_is_answered_beside_the_old_one_and_both_can_be_walked_to(
    screens: Any, target: Any
) -> None:
    screen = screens(target())
    session = screen.session
    await screen.ask("one")
    await screen.ask("two")
    old = ids(session)
    await session.edit(old[2], "two, please")
    await settled(screen)
    assert texts(session) == ["one", "one", "two, please", "two, please"]
    assert session.versions == {session.branch[2].id: (2, 2)}
    assert await session.walk(session.branch[2].id, -1) == old[2]
    assert ids(session) == old
    assert await session.walk(old[2], -1) == old[2]
    assert await session.walk(old[2], 1) != old[2]
    assert texts(session)[2:] == ["two, please", "two, please"]


async def test_a_retry_in_the_middle_answers_that_question_with_the_preset_chosen_now(
    screens: Any, target: Any
) -> None:
    screen = screens(target("first"))
    session = screen.session
    await screen.ask("one")
    await screen.ask("two")
    session.choose(target("second", text="another answer"))
    await session.retry(session.branch[1].id)
    await settled(screen)
    assert texts(session) == ["one", "another answer"]
    assert [message.preset for message in session.branch] == [None, "second"]
    assert session.versions == {session.branch[1].id: (2, 2)}
    await session.walk(session.branch[1].id, -1)
    assert texts(session) == ["one", "one", "two", "two"]


async def test_what_is_deleted_comes_back_with_all_that_was_below_it(screens: Any, target: Any) -> None:
    screen = screens(target())
    session = screen.session
    await screen.ask("one")
    await screen.ask("two")
    before, chat = ids(session), session.conversation.id
    head = await session.throw_away(before[2])
    assert ids(session) == before[:2]
    await session.throw_away(before[0])
    assert session.branch == []
    await session.take_back(chat, before[0], before[1])
    await session.take_back(chat, before[2], head)
    assert ids(session) == before


async def test_nothing_is_deleted_under_an_answer_that_is_being_written(screens: Any, target: Any) -> None:
    screen = screens(target(text="word " * 200, tokens_per_second=50.0))
    session = screen.session
    await session.send("go on")
    with pytest.raises(StoreError, match="still being written"):
        await session.throw_away(session.branch[0].id)
    await session.edit(session.branch[0].id, "meanwhile")
    await session.retry(session.branch[0].id)
    assert texts(session)[0] == "go on"
    assert session.versions == {}
    await session.stop()
    await settled(screen)


async def test_who_walks_away_from_a_running_answer_finds_it_running_when_walking_back(
    screens: Any, target: Any
) -> None:
    screen = screens(target())
    session = screen.session
    await screen.ask("one")
    session.choose(target("slow", text="word " * 30, tokens_per_second=60.0))
    await session.retry()
    await screen.until(lambda s: s.answer is not None and s.answer.text)
    await session.walk(session.branch[1].id, -1)
    assert not session.busy
    await session.walk(session.branch[1].id, 1)
    assert session.running.watching
    await settled(screen)
    assert texts(session) == ["one", "word " * 30]
    assert session.branch[-1].state == "done"


async def test_a_message_that_is_not_shown_cannot_be_worked_on(screens: Any, target: Any) -> None:
    session = screens().session
    session.target = target()
    for work in (session.walk("x", 1), session.throw_away("x"), session.edit("x", "y"), session.retry("x")):
        with pytest.raises(StoreError, match="not shown any more"):
            await work


async def test_a_chat_opens_in_the_branch_that_holds_a_message(screens: Any, target: Any) -> None:
    screen, other = screens(target()), screens()
    await screen.ask("one")
    old = screen.session.branch[1].id
    await screen.session.edit(screen.session.branch[0].id, "two")
    await settled(screen)
    chat = screen.session.conversation.id
    await other.session.open(chat)
    assert texts(other.session) == ["two", "two"]
    await other.session.open(chat, old)
    assert texts(other.session) == ["one", "one"]


async def test_a_chat_that_another_deletes_while_it_is_open_is_told_and_left(screens: Any, target: Any) -> None:
    screen, other = screens(target()), screens()
    await screen.ask("why?")
    await asyncio.to_thread(shelf.throw_away, other.store, screen.session.conversation.id)
    assert await screen.session.refresh()
    assert (screen.session.conversation, screen.session.branch, screen.session.versions) == (None, [], {})
    assert "deleted by another program" in screen.session.problem.title
    assert screen.session.problem.detail == "why?"
    assert "problem" in screen.changes
    await screen.ask("and now?")
    assert texts(screen.session) == ["and now?", "and now?"]


async def test_a_database_that_is_replaced_while_open_is_told_at_the_next_look(screens: Any, target: Any) -> None:
    screen = screens(target())
    await screen.ask("why?")
    kept = paths.database().with_name("kept")
    paths.database().rename(kept)
    paths.database().touch()
    with pytest.raises(StoreError, match="deleted or replaced"):
        await screen.session.refresh()
    kept.replace(paths.database())
    await screen.session.refresh()
    assert texts(screen.session) == ["why?", "why?"]


async def test_a_new_name_is_shown_without_letting_go_of_the_answer(screens: Any, target: Any) -> None:
    screen = screens(target(text="word " * 100, tokens_per_second=50.0))
    session = screen.session
    await session.reread()
    await session.send("why?")
    shelf.rename(screen.store, session.conversation.id, "The sky")
    answer = session.answer
    await session.reread()
    assert session.conversation.title == "The sky"
    assert session.answer is answer
    await session.stop()
    await settled(screen)


def test_only_a_lock_is_passing(tmp_path: Path) -> None:
    locked, full = StoreError("x", "", ""), StoreError("x", "", "")
    locked.__cause__ = sqlite3.OperationalError("database is locked")
    full.__cause__ = sqlite3.OperationalError("database or disk is full")
    assert opened.passing(locked)
    assert not opened.passing(full)
    assert not opened.passing(StoreError("x", "", ""))
