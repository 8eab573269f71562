"""The schema: brought up step by step, or not at all; one that is newer is refused, also while it is open."""

from __future__ import annotations

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor as Executor

import pytest

from backends import paths
from tests.tui.chat.kept_chats import ASKED, turn
from tui.chat.answer import fold
from tui.chat.storing.migrations import MIGRATIONS, Migration
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError


def test_an_older_database_is_brought_up_and_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    row = turn(store, "question")
    store.close()
    further = (*MIGRATIONS, Migration("a mood for each", ("ALTER TABLE conversation ADD COLUMN mood TEXT",)))
    monkeypatch.setattr("tui.chat.storing.store.MIGRATIONS", further)
    again = Store()
    assert again.rows("PRAGMA user_version")[0][0] == len(further)
    assert [message.text for message in again.branch(row.conversation)] == ["question", "answer"]
    again.close()


def test_a_migration_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Store().close()
    broken = (*MIGRATIONS, Migration("broken", ("CREATE TABLE extra (id TEXT)", "CREATE NONSENSE")))
    monkeypatch.setattr("tui.chat.storing.store.MIGRATIONS", broken)
    with pytest.raises(StoreError):
        Store()
    monkeypatch.undo()
    store = Store(paths.database())
    assert store.rows("SELECT name FROM sqlite_master WHERE name = 'extra'") == []
    store.close()


def test_a_newer_schema_is_refused_untouched() -> None:
    Store().close()
    with sqlite3.connect(paths.database()) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer deepseek-tui") as raised:
        Store()
    assert "schema 99" in raised.value.detail


def test_who_is_open_while_a_newer_program_brings_the_schema_up_is_told_and_writes_nothing() -> None:
    store = Store()
    row = store.begin("a1", ASKED, "why?")
    with contextlib.closing(sqlite3.connect(paths.database())) as newer:
        newer.execute("ALTER TABLE message ADD COLUMN mood TEXT")
        newer.execute("ALTER TABLE conversation ADD COLUMN mood TEXT")
        newer.execute("PRAGMA user_version = 99")
    uses = (
        store.conversations,
        store.changes,
        lambda: store.branch(row.conversation),
        lambda: store.finish("a1", fold([])),
        lambda: store.begin("a2", ASKED, "and?", row.conversation),
    )
    for use in uses:
        with pytest.raises(StoreError, match="newer deepseek-tui while they are open") as raised:
            use()
        assert "schema 99" in raised.value.detail
    store.close()
    with contextlib.closing(sqlite3.connect(paths.database())) as newer:
        assert newer.execute("SELECT state FROM message WHERE role = 'assistant'").fetchall() == [("streaming",)]


def test_who_waits_to_bring_the_schema_up_and_finds_a_newer_one_refuses_it() -> None:
    paths.private(paths.data())
    with contextlib.closing(sqlite3.connect(paths.database(), isolation_level=None)) as newer, Executor() as threads:
        newer.execute("BEGIN IMMEDIATE")
        waiting = threads.submit(lambda: Store().close())
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        newer.execute("PRAGMA user_version = 99")
        newer.execute("COMMIT")
        with pytest.raises(StoreError, match="newer deepseek-tui"):
            waiting.result(10)
        assert newer.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
