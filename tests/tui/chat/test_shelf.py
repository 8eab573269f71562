"""Conversations on a shelf: named, pinned, put aside, thrown away and taken back; purged without a trace."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

import pytest

from backends.events import Done, Reasoning, Text
from backends.host.wire import Record
from tui.chat.answer import fold
from tui.chat.searching import indexing, search
from tui.chat.storing import copying, forgetting, shelf, tree, upkeep
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoredMessage, StoreError, new_id

ASKED = Asked("starter", "echo", "model")


def turn(store: Store, text: str, chat: str | None = None, said: str = "answer", thought: str = "") -> StoredMessage:
    row = store.begin(new_id(), ASKED, text, chat)
    events = (Reasoning(thought), Text(said), Done("stop"))
    assert store.finish(row.id, fold([Record("a", number, 1.0, event) for number, event in enumerate(events)]))
    return row


def titles(store: Store, **how: bool) -> list[str]:
    return [chat.title for chat in store.conversations(**how)]


def test_the_list_has_pinned_chats_first_and_archived_ones_apart() -> None:
    store = Store()
    one, two, three, four = (turn(store, name).conversation for name in ("one", "two", "three", "four"))
    shelf.pin(store, one, True)
    shelf.pin(store, two, True)
    shelf.archive(store, three, True)
    assert titles(store) == ["two", "one", "four"]
    assert titles(store, archived=True) == ["three"]
    turn(store, "one again", one)
    assert titles(store) == ["one", "two", "four"]
    shelf.pin(store, one, False)
    shelf.archive(store, three, False)
    assert titles(store) == ["two", "one", "four", "three"]
    assert store.conversation(two).pinned_at is not None
    assert store.conversation(one).pinned_at is None
    assert store.conversation(four).archived_at is None
    store.close()


def test_the_list_goes_on_where_it_ended_also_when_a_chat_has_come_meanwhile() -> None:
    store = Store()
    for number in range(7):
        turn(store, f"chat {number}")
    shelf.pin(store, store.conversations()[3].id, True)
    whole = titles(store)
    first = store.conversations(3)
    turn(store, "just now")
    rest = store.conversations(10, before=first[-1])
    assert [chat.title for chat in [*first, *rest]] == whole
    assert [chat.title for chat in store.conversations(2, 1)] == ["just now", whole[1]]
    store.close()


def test_the_list_is_read_from_its_index() -> None:
    store = Store()
    plan = store.rows(
        "EXPLAIN QUERY PLAN SELECT * FROM conversation WHERE deleted_at IS NULL AND (archived_at IS NOT NULL) = ?"
        " ORDER BY (pinned_at IS NULL), updated_at DESC, id",
        False,
    )
    assert [row["detail"] for row in plan] == ["SEARCH conversation USING INDEX conversation_listed (<expr>=?)"]
    store.close()


def test_a_title_is_one_line_and_an_empty_one_brings_back_the_first_question() -> None:
    store = Store()
    chat = turn(store, "the question\nand more").conversation
    turn(store, "later", chat)
    shelf.rename(store, chat, "  What I\n\twant\ud800  ")
    renamed = store.conversation(chat)
    assert (renamed.title, renamed.renamed) == ("What I want\ufffd", True)
    shelf.rename(store, chat, " \n")
    assert (store.conversation(chat).title, store.conversation(chat).renamed) == ("the question", False)
    store.close()


def test_naming_and_pinning_does_not_make_a_chat_the_last_used() -> None:
    store = Store()
    chat = turn(store, "old").conversation
    turn(store, "new")
    before = store.conversation(chat).updated_at
    shelf.rename(store, chat, "named")
    shelf.pin(store, chat, True)
    shelf.archive(store, chat, True)
    shelf.take_back(store, chat)
    assert store.conversation(chat).updated_at == before
    store.close()


def test_a_chat_thrown_away_is_nowhere_until_it_is_taken_back() -> None:
    store = Store()
    chat, kept = turn(store, "secret").conversation, turn(store, "kept").conversation
    shelf.throw_away(store, chat)
    assert titles(store) == ["kept"]
    assert (store.count(), search.search(store, "secret")) == (1, [])
    for wanted in (chat, chat[:12]):
        with pytest.raises(StoreError, match="no such chat"):
            store.conversation(wanted)
    for change in (shelf.pin, shelf.archive):
        with pytest.raises(StoreError, match="no such chat"):
            change(store, chat, True)
    with pytest.raises(StoreError, match="no such chat"):
        shelf.rename(store, chat, "x")
    with pytest.raises(StoreError, match="no such chat"):
        shelf.throw_away(store, chat)
    shelf.take_back(store, chat)
    assert titles(store) == ["kept", "secret"]
    assert [hit.conversation for hit in search.search(store, "secret")] == [chat]
    assert kept != chat
    with pytest.raises(StoreError, match="no such chat"):
        shelf.take_back(store, "never")
    store.close()


def test_a_chat_whose_answer_is_being_written_is_not_thrown_away() -> None:
    store = Store()
    row = store.begin(new_id(), ASKED, "question")
    with pytest.raises(StoreError, match="still being written"):
        shelf.throw_away(store, row.conversation)
    store.close()


def test_purging_deletes_what_was_thrown_away_long_enough_ago_and_says_what() -> None:
    store = Store()
    old, young, kept = (turn(store, name) for name in ("old", "young", "kept"))
    part = turn(store, "part", kept.conversation)
    tree.throw_away_message(store, part.parent or "")
    for chat in (old, young):
        shelf.throw_away(store, chat.conversation)
    with store.transaction() as db:
        db.execute("UPDATE conversation SET deleted_at = deleted_at - 100 WHERE id = ?", (old.conversation,))
        db.execute("UPDATE message SET deleted_at = deleted_at - 100 WHERE deleted_at IS NOT NULL")
    purged = shelf.purge(store, 50)
    assert [(one.conversation, one.whole, len(one.messages)) for one in purged] == [
        (old.conversation, True, 2),
        (kept.conversation, False, 2),
    ]
    assert part.id in purged[1].messages
    assert titles(store) == ["kept"]
    shelf.take_back(store, young.conversation)
    assert shelf.purge(store, 0) == []
    assert len(store.rows("SELECT 1 FROM message")) == 4
    assert store.rows("PRAGMA foreign_key_check") == []
    with pytest.raises(StoreError, match="no such chat"):
        shelf.take_back(store, old.conversation)
    with pytest.raises(StoreError, match="deleted"):
        tree.take_back_message(store, part.parent or "")
    store.close()


def test_what_hangs_below_a_purged_message_goes_with_it_whatever_the_clock_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    row = turn(store, "question", said="planted")
    tree.throw_away_message(store, row.id)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 1000)
    tree.throw_away_message(store, row.parent or "")
    monkeypatch.setattr(time, "time", lambda: now - 500)
    assert [len(one.messages) for one in shelf.purge(store, 100)] == [2]
    assert store.rows("SELECT 1 FROM indexed") == store.rows("SELECT 1 FROM said_docsize") == []
    store.close()


@pytest.mark.parametrize("how", ["deleted", "purged", "purged messages"])
def test_a_very_long_chat_is_read_and_deleted_like_any_other(how: str) -> None:
    store = Store()
    chat = turn(store, "begin").conversation
    with store.transaction() as db:
        head = store.conversation(chat).head
        for number in range(3000):
            db.execute(
                "INSERT INTO message (id, conversation, parent, role, text, state, created_at)"
                " VALUES (?, ?, ?, 'user', 'x', 'done', ?)",
                (f"m{number}", chat, head, number),
            )
            head = f"m{number}"
        db.execute("UPDATE conversation SET head = ? WHERE id = ?", (head, chat))
        indexing.later(db)
    search.catch_up(store, 30)
    assert store.branch_length(chat) == len(store.branch(chat)) == 3002
    if how == "deleted":
        assert len(store.delete(chat)) == 3002
    elif how == "purged":
        shelf.throw_away(store, chat)
        assert len(shelf.purge(store, 0)[0].messages) == 3002
    else:
        tree.throw_away_message(store, "m0")
        assert len(shelf.purge(store, 0)[0].messages) == 3000
        assert store.branch_length(chat) == 2
    assert upkeep.check(store.path).sound
    store.close()


@pytest.mark.parametrize("how", ["deleted", "purged", "a purged message"])
def test_no_word_of_what_is_deleted_stays_in_the_file(how: str) -> None:
    store = Store()
    for number in range(6):
        turn(store, f"other {number}", said="common words " * 200)
    words = ("zaunkönig", "quastenflosser", "nebelparder")
    chat = turn(store, words[0], None, f"{words[1]} " * 2000, words[2] * 3000).conversation
    shelf.rename(store, chat, "Mauersegler")
    for number in range(6):
        turn(store, f"another {number}", said="common words " * 200)
    planted = [*words, "Mauersegler", "模型"]
    assert any(word.encode() in store.path.read_bytes() for word in planted)
    if how == "deleted":
        store.delete(chat)
    elif how == "purged":
        shelf.throw_away(store, chat)
        shelf.purge(store, 0)
    else:
        shelf.rename(store, chat, "")
        with store.transaction() as db:
            db.execute("UPDATE conversation SET title = 'x' WHERE id = ?", (chat,))
        tree.throw_away_message(store, store.branch(chat)[0].id)
        shelf.purge(store, 0)
    assert search.catch_up(store, 10)
    left = store.path.read_bytes().lower()
    # The index drops accents, and cuts long words.
    assert [word for word in (*planted, "zaunkonig") if word.lower().encode() in left] == []
    assert len(search.search(store, "common", 100)) == 12
    assert not store.path.with_name(store.path.name + "-journal").exists()
    store.close()


def test_a_copy_of_before_and_what_a_killed_program_left_of_one_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    chat = turn(store, "secret").conversation
    half = store.path.with_name(".chats.schema-3.sqlite3.0a1b2c3d.part")
    left = (copying.before_migration(store.path, 3), half, half.with_name(half.name + "-journal"))
    for each in left:
        each.write_text("secret")
    mine = store.path.with_name(".chats.bak.0a1b2c3d.part")
    mine.touch()
    with monkeypatch.context() as patch:
        patch.setattr(copying, "drop_old", raising(PermissionError(13, "Permission denied")))
        with pytest.raises(StoreError, match="cannot be written"):
            store.delete(chat)
    assert [message.text for message in store.branch(chat)] == ["secret", "answer"], "all of it goes, or nothing"
    store.delete(chat)
    assert [each.name for each in left if each.exists()] == []
    assert mine.exists(), "somebody's copy that is being made"
    store.close()


@pytest.mark.parametrize("how", ["deleted", "purged"])
def test_an_index_that_cannot_be_rid_of_words_now_is_later_and_keeps_nothing_else_from_being_forgotten(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    row = turn(store, "secret")
    with monkeypatch.context() as patch:
        patch.setattr(indexing, "sweep", raising(sqlite3.OperationalError("database is locked")))
        if how == "deleted":
            assert sorted(store.delete(row.conversation)) == sorted([row.id, row.parent or ""])
        else:
            shelf.throw_away(store, row.conversation)
            assert [one.conversation for one in shelf.purge(store, 0)] == [row.conversation]
    assert forgetting.is_due(store)
    assert shelf.purge(store, 0) == []
    assert not forgetting.is_due(store)
    store.close()


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail
