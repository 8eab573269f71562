"""Conversations on disk: nothing overwritten, nothing half written, every failure told."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends import paths
from backends.base import Partial
from backends.errors import EngineDied, ErrorInfo
from backends.events import Done, Energy, Text, Timings, Usage
from backends.host.wire import Failed, Record
from tui.chat.answer import Answer, fold
from tui.chat.storing.migrations import MIGRATIONS
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, Conversation, StoredMessage, StoreError, new_id, title_from

ASKED = Asked("starter", "echo", "model")


def answer(text: str = "answer", end: Done | Failed | None = None) -> Answer:
    return fold([Record("a", 0, 1.0, Text(text)), Record("a", 1, 2.0, end or Done("stop"))])


def turn(store: Store, text: str = "question", conversation: str | None = None, said: str = "answer") -> StoredMessage:
    row = store.begin(new_id(), ASKED, text, conversation)
    assert store.finish(row.id, answer(said))
    return row


def test_a_new_database_has_the_newest_schema_and_is_for_its_owner_alone() -> None:
    store = Store()
    assert store.rows("PRAGMA user_version")[0][0] == len(MIGRATIONS)
    assert store.rows("PRAGMA foreign_keys")[0][0] == 1
    assert store.rows("PRAGMA journal_mode")[0][0] == "delete"
    assert store.rows("PRAGMA synchronous")[0][0] == 3
    assert stat.S_IMODE(paths.database().stat().st_mode) == 0o600
    assert stat.S_IMODE(paths.data().stat().st_mode) == 0o700
    store.close()
    Store().close()


def test_the_columns_of_a_message_are_in_the_order_of_its_fields() -> None:
    store = Store()
    columns = [row["name"] for row in store.rows("PRAGMA table_info(message)")]
    assert tuple(columns) == StoredMessage.__struct_fields__
    kept = {row["name"] for row in store.rows("PRAGMA table_info(conversation)")}
    assert kept == set(Conversation.__struct_fields__) - {"asking_lost"}
    store.close()


@pytest.mark.parametrize("wanted", ["x\udcff", "\ud800", "x" * 100_000, "%", "_", "\\", "\x00", ""])
def test_what_is_no_id_finds_no_chat_and_is_no_other_error(wanted: str) -> None:
    store = Store()
    turn(store)
    with pytest.raises(StoreError, match="no such chat") as raised:
        store.conversation(wanted)
    assert len(raised.value.detail) < 200
    store.close()


def test_a_turn_is_there_as_a_branch_and_survives_reopening() -> None:
    store = Store()
    row = store.begin("a1", ASKED, "why?")
    assert (row.state, row.text, row.preset, row.backend, row.model) == ("streaming", "", "starter", "echo", "model")
    assert store.streaming() == ["a1"]
    done = Done("length", Usage(1, 2, 3, 4), Timings(0.1, 0.2, 0.3, 9.0), Energy(5.0, "measured"))
    assert store.finish("a1", answer("because", done))
    store.close()
    store = Store()
    question, said = store.branch(row.conversation)
    assert (question.role, question.text, question.state, said.parent) == ("user", "why?", "done", question.id)
    assert (said.text, said.state, said.reason, said.usage) == ("because", "done", "length", Usage(1, 2, 3, 4))
    assert (said.timings, said.energy) == (done.timings, done.energy)
    assert said.finished_at is not None
    assert store.conversations()[0] == store.conversation(row.conversation)
    store.close()


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (answer(end=Done("stop")), "done"),
        (answer(end=Done("context")), "done"),
        (answer(end=Done("stopped")), "stopped"),
        (answer(end=Failed(ErrorInfo("out_of_memory", "t"))), "failed"),
        (answer(end=Failed(ErrorInfo(EngineDied.kind, "t"))), "interrupted"),
        (fold([Record("a", 0, 0.0, Text("answer"))]), "interrupted"),
    ],
)
def test_each_end_has_its_state_and_the_first_one_counts(result: Answer, state: str) -> None:
    store = Store()
    row = store.begin("a1", ASKED, "q")
    assert store.finish("a1", result)
    updated = store.conversation(row.conversation).updated_at
    assert not store.finish("a1", answer("another"))
    kept = store.message("a1")
    assert kept is not None
    assert (kept.state, kept.text, kept.error) == (state, "answer", result.failed)
    assert store.conversation(row.conversation).updated_at == updated
    assert not store.finish("never", answer())
    store.close()


def test_a_retry_makes_a_sibling_and_the_branch_follows_it() -> None:
    store = Store()
    first = turn(store)
    question = store.branch(first.conversation)[0]
    second = store.begin_again("a2", ASKED, question, None)
    store.finish("a2", answer("second"))
    assert second.parent == first.parent == question.id
    assert [message.text for message in store.branch(first.conversation)] == ["question", "second"]
    turn(store, "next", first.conversation, "third")
    assert [m.text for m in store.branch(first.conversation)] == ["question", "second", "next", "third"]
    assert (store.branch_length(first.conversation), store.count()) == (4, 1)
    kept = store.message(first.id)
    assert kept is not None
    assert kept.text == "answer"
    store.close()


def test_going_on_begins_with_what_was_there() -> None:
    store = Store()
    first = turn(store)
    row = store.begin_again("a2", ASKED, store.branch(first.conversation)[0], Partial("thought", "answ"))
    assert (row.text, row.reasoning, row.state) == ("answ", "thought", "streaming")
    assert row.partial == Partial("thought", "answ", thinking=False)
    assert store.message("a2") == row
    store.close()


def test_a_chat_is_found_by_the_beginning_of_its_id() -> None:
    store = Store()
    ids = [turn(store).conversation for _ in range(40)]
    assert all(store.conversation(each[:12]).id == each for each in ids)
    with pytest.raises(StoreError, match="More than one"):
        store.conversation(next(each[0] for each in ids if sum(other[0] == each[0] for other in ids) > 1))
    for pattern in ("%", "_" * 24, "no", "\\", "'"):
        with pytest.raises(StoreError, match="no such chat"):
            store.conversation(pattern)
    with pytest.raises(StoreError):
        store.conversation("")
    store.close()


def test_chats_are_listed_last_used_first() -> None:
    store = Store()
    one, two = turn(store, "one"), turn(store, "two")
    turn(store, "one again", one.conversation)
    assert [chat.title for chat in store.conversations()] == ["one", "two"]
    assert [chat.id for chat in store.conversations(1)] == [one.conversation]
    assert two.conversation != one.conversation
    store.close()


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Why?", "Why?"),
        ("\n\n  first line \nsecond", "first line"),
        ("", "New chat"),
        (" \n\t", "New chat"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("y" * 58 + " zzz", "y" * 58 + "…"),
    ],
)
def test_a_title_is_the_first_line_of_the_first_question(text: str, title: str) -> None:
    assert title_from(text) == title


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.text())
def test_any_text_comes_back_as_it_was(home: Path, question: str, said: str) -> None:
    store = Store()
    row = turn(store, question, None, said)
    assert [message.text for message in store.branch(row.conversation)] == [question, said]
    store.close()


@pytest.mark.parametrize(
    "text", ["a\x00b", "\x1b]52;c;aGk=\x07", "[/x]", "\u202e", "'; DROP TABLE message; --", "\U0010ffff", "\r\n\u2028"]
)
def test_hostile_text_comes_back_as_it_was(text: str) -> None:
    store = Store()
    row = turn(store, text, None, text)
    assert [message.text for message in store.branch(row.conversation)] == [text, text]
    store.close()


def test_lone_surrogates_become_replacement_characters() -> None:
    store = Store()
    row = turn(store, "a\udcffb\ud83d\ude00", None, "\ud800")
    assert [message.text for message in store.branch(row.conversation)] == ["a\ufffdb😀", "\ufffd"]
    assert store.conversation(row.conversation).title == "a\ufffdb😀"
    store.close()


def test_a_deleted_chat_is_a_typed_error() -> None:
    store = Store()
    row = turn(store)
    question = store.branch(row.conversation)[0]
    store._db.execute("DELETE FROM conversation")
    with pytest.raises(StoreError, match="deleted"):
        store.begin("a2", ASKED, "more", row.conversation)
    with pytest.raises(StoreError, match="deleted"):
        store.begin_again("a3", ASKED, question, None)
    assert store.message(row.id) is None
    assert not store._db.in_transaction
    store.close()


def test_a_locked_database_is_a_typed_error_after_the_time_to_wait() -> None:
    store = Store(busy_s=0.2)
    other = sqlite3.connect(paths.database(), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    with pytest.raises(StoreError, match="locked") as raised:
        store.begin("a1", ASKED, "q")
    assert 0.15 < time.monotonic() - started < 2
    assert "Another program" in raised.value.hint
    with pytest.raises(StoreError, match="locked"):
        store.conversations()
    other.execute("ROLLBACK")
    other.close()
    assert store.begin("a1", ASKED, "q").id == "a1"
    store.close()


def test_a_writer_waits_for_another() -> None:
    store = Store()
    other = sqlite3.connect(paths.database(), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, other.execute, ("ROLLBACK",))
    timer.start()
    assert store.begin("a1", ASKED, "q").id == "a1"
    timer.join()
    other.close()
    store.close()


@pytest.mark.parametrize(
    "content", [b"this is not a database, it is a poem\n" * 100, b"SQLite format 3\x00" + b"\xff" * 4000]
)
def test_a_file_that_is_no_database_is_a_typed_error_and_left_alone(content: bytes) -> None:
    paths.private(paths.data())
    paths.database().write_bytes(content)
    with pytest.raises(StoreError) as raised:
        Store()
    assert "Keep a copy" in raised.value.hint
    assert paths.database().read_bytes() == content


def test_a_folder_that_cannot_be_made_is_a_typed_error() -> None:
    paths.data().parent.mkdir(exist_ok=True)
    paths.data().write_text("a file in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        Store()


READ_ONLY = """
import os, sys
from pathlib import Path
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoreError
folder = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    store = Store(folder / "chats.sqlite3")
    store.begin("a1", Asked("p", "b", "m"), "q")
except StoreError as error:
    print(error.title, "|", error.hint)
"""


@pytest.mark.parametrize("there", [False, True], ids=["no file", "a file"])
def test_a_read_only_folder_is_a_typed_error(there: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if there:
            Store(folder / "chats.sqlite3").close()
            (folder / "chats.sqlite3").chmod(0o444)
        folder.chmod(0o555)
        child = subprocess.run(
            [sys.executable, "-c", READ_ONLY, name], capture_output=True, text=True, timeout=30, check=False
        )
        folder.chmod(0o700)
    assert child.stdout.startswith("The conversations cannot be "), child.stderr
    assert "owner" in child.stdout


def test_a_full_disk_is_a_typed_error_and_keeps_what_is_there() -> None:
    store = Store()
    row = turn(store)
    store._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="full") as raised:
        store.begin("a2", ASKED, "x" * 200_000, row.conversation)
    assert "Make room" in raised.value.hint
    assert len(store.branch(row.conversation)) == 2
    store.close()


def test_a_change_by_another_is_noticed_and_an_own_one_is_not() -> None:
    store, other = Store(), Store()
    before = store.changes()
    turn(store)
    assert store.changes() == before
    turn(other)
    assert store.changes() != before
    store.close()
    other.close()


WRITER = """
import sys
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id
from tui.chat.answer import fold
from backends.host.wire import Record
from backends.events import Done, Text
store = Store()
for number in range(15):
    row = store.begin(new_id(), Asked("p", "b", "m"), f"{sys.argv[1]} {number}", sys.argv[2] or None)
    store.finish(row.id, fold([Record("a", 0, 0.0, Text(f"to {number}")), Record("a", 1, 0.0, Done("stop"))]))
"""


def test_several_processes_write_at_once_and_nothing_is_lost() -> None:
    store = Store()
    shared = turn(store, "shared").conversation
    children = [
        subprocess.Popen([sys.executable, "-c", WRITER, name, where])
        for name, where in (("one", ""), ("two", shared), ("three", shared))
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    rows = store.rows("SELECT text FROM message WHERE role = 'user'")
    expected = {f"{name} {number}" for name in ("one", "two", "three") for number in range(15)} | {"shared"}
    assert sorted(row["text"] for row in rows) == sorted(expected)
    assert store.rows("PRAGMA integrity_check")[0][0] == "ok"
    assert store.rows("PRAGMA foreign_key_check") == []
    assert len(store.branch(shared)) == 2 + 2 * 30
    store.close()


def test_one_store_serves_many_threads() -> None:
    store = Store()
    threads = [threading.Thread(target=turn, args=(store, f"q{number}")) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.conversations()) == 12
    store.close()
