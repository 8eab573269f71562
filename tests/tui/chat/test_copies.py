"""Copies of the conversations: made while others write, before a migration, and never in the place of anything."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backends import paths
from tests.tui.chat.kept_chats import kinds, three_chats, turn
from tui.chat.searching import search
from tui.chat.storing import upkeep
from tui.chat.storing.migrations import MIGRATIONS
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError


@pytest.fixture
def chats(home: Path) -> list[str]:
    return three_chats()


def test_a_backup_is_whole_while_others_write_and_for_its_owner_alone(chats: list[str], tmp_path: Path) -> None:
    store, other = Store(), Store()
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            turn(other, "meanwhile " * 500)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(2):
            target = tmp_path / f"copy {number} ?#%.sqlite3"
            upkeep.backup(store, target)
            assert stat.S_IMODE(target.stat().st_mode) == 0o600
            with contextlib.closing(sqlite3.connect(target)) as copy:
                assert copy.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                assert copy.execute("PRAGMA foreign_key_check").fetchall() == []
                assert copy.execute("SELECT count(*) FROM message WHERE text LIKE 'question%'").fetchone()[0] == 9
    finally:
        over.set()
        writer.join()
    assert len(list(tmp_path.glob("*copy*"))) == 2, "no half copy stays"
    other.close()
    store.close()


def test_a_backup_never_takes_the_place_of_the_conversations_or_of_a_folder(chats: list[str], tmp_path: Path) -> None:
    store = Store()
    (tmp_path / "link").symlink_to(paths.database())
    for target in (paths.database(), tmp_path / "link"):
        with pytest.raises(StoreError, match="place of the conversations"):
            upkeep.backup(store, target)
    for target in (tmp_path / "missing" / "copy", tmp_path):
        with pytest.raises(StoreError, match="cannot be written"):
            upkeep.backup(store, target)
    assert upkeep.check().sound
    store.close()


def old_database(schema: int) -> None:
    """Make a database of an earlier schema, with one turn in it."""
    paths.private(paths.data())
    with contextlib.closing(sqlite3.connect(paths.database(), isolation_level=None)) as db:
        for migration in MIGRATIONS[:schema]:
            for statement in migration.statements:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {schema}")
        db.execute(
            "INSERT INTO conversation (id, title, created_at, updated_at, preset) VALUES ('c', 'the title', 1, 2, 'p')"
        )
        for row in (("q", None, "user", "an old question"), ("a", "q", "assistant", "an old answer")):
            db.execute(
                "INSERT INTO message (id, conversation, parent, role, text, state, created_at)"
                " VALUES (?, 'c', ?, ?, ?, 'done', 1.5)",
                row,
            )
        db.execute("UPDATE conversation SET head = 'a'")
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'indexing'").fetchone():
            # Its program was ended before it had put them into the index.
            db.execute("INSERT INTO indexing SELECT 'todo', max(rowid) FROM message")


@pytest.mark.parametrize("schema", range(1, len(MIGRATIONS)))
def test_an_older_database_is_brought_up_after_a_copy_and_everything_in_it_is_found(home: Path, schema: int) -> None:
    old_database(schema)
    before = paths.database().read_bytes()
    assert kinds(upkeep.check()) == ["open", "older_schema"]
    store = Store()
    assert not search.complete(store)
    assert [hit.snippet for hit in search.search(store, "old")] == ["an old answer", "an old question"]
    assert search.complete(store)
    (copy,) = upkeep.copies(paths.database())
    assert copy.name == f"chats.schema-{schema}.sqlite3"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert upkeep.check().copies == (str(copy),)
    assert upkeep.check().sound
    with contextlib.closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == schema
        assert db.execute("SELECT text FROM message").fetchall() == [("an old question",), ("an old answer",)]
    store.close()
    shutil.copy(copy, paths.database())
    assert len(paths.database().read_bytes()) == len(before)
    store = Store()
    store.delete("c")
    assert upkeep.copies(paths.database()) == [], "the copy had what was deleted"
    assert b"an old" not in paths.database().read_bytes()
    store.close()


TIGHT = """
import resource, sys
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    Store()
except StoreError as error:
    print(error.title)
"""


def test_without_room_for_the_copy_nothing_is_migrated(home: Path) -> None:
    old_database(3)
    child = subprocess.run([sys.executable, "-c", TIGHT], capture_output=True, text=True, timeout=30, check=False)
    assert child.stdout.startswith("The conversations cannot be"), child.stderr
    assert kinds(upkeep.check()) == ["older_schema"]
    assert [each.name for each in paths.data().iterdir()] == ["chats.sqlite3"]
    store = Store()
    assert [message.text for message in store.branch("c")] == ["an old question", "an old answer"]
    store.close()
