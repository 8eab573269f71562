"""Putting right what is wrong inside the conversations, and reading what can be read of a damaged file."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends.errors import ErrorInfo
from tui.chat.storing.stored import FIGURES, figures, readable, title_from

TABLES = ("conversation", "message", "receipt")
UNREAD = ErrorInfo("damaged", "This message could not be read from the damaged file")
_UNREAD_VALUES = {
    "user": (f"({UNREAD.title}.)", "done", None),
    "assistant": ("", "failed", msgspec.json.encode(UNREAD).decode()),
}
DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading a damaged file can raise: what SQLite says of it may hold garbage, too, that is no text."""
_GIVE_UP_AFTER = 20_000
_MAGIC = b"SQLite format 3\0"
_PAGE_SIZE, _PAGES = slice(16, 18), slice(28, 32)
_INDEXES = (
    ("id", "sqlite_autoindex_message_1"),
    ("conversation, created_at", "message_by_conversation"),
    ("parent", "message_by_parent"),
)
_REACHED = """
    WITH RECURSIVE reached (id, conversation) AS (
        SELECT id, conversation FROM message WHERE parent IS NULL
        UNION
        SELECT message.id, message.conversation FROM message
        JOIN reached ON message.parent = reached.id AND message.conversation = reached.conversation
    )
    SELECT rowid AS number, id, conversation, parent, role FROM message
    WHERE id NOT IN (SELECT id FROM reached) ORDER BY rowid
"""
HEADLESS = """
    SELECT id FROM conversation WHERE head IS NOT (
        SELECT id FROM message WHERE id = conversation.head AND conversation = conversation.id AND deleted_at IS NULL
    ) OR head IS NULL AND EXISTS (SELECT 1 FROM message WHERE conversation = conversation.id AND deleted_at IS NULL)
"""


def unreachable(db: sqlite3.Connection) -> list[sqlite3.Row]:
    """Return the messages that no way leads to from the beginning of their chat."""
    return db.execute(_REACHED).fetchall()


def garbled(db: sqlite3.Connection) -> Iterator[tuple[str, int, str, str | None]]:
    """Yield each value that is no text, or no figures, by table, number and column, with what can be read of it."""
    text_factory, db.text_factory = db.text_factory, bytes
    try:
        for table in TABLES:
            for row in db.execute(f"SELECT rowid AS number_, * FROM {table} ORDER BY rowid"):  # noqa: S608 - our names
                for name in row.keys():  # noqa: SIM118 - a row iterates values
                    value = row[name]
                    if not isinstance(value, bytes):
                        continue
                    text: str | None = readable(value)
                    if name in FIGURES and figures(name, value) is None:
                        text = None
                    if text is None or (not value.isascii() and text.encode() != value):
                        yield table, row["number_"], name, text
    finally:
        db.text_factory = text_factory


def mend(db: sqlite3.Connection) -> None:
    """Give every message a chat and a way to it, and every chat a head. Needs a transaction, references unchecked.

    Nothing is deleted. What cannot be read of a text is U+FFFD, and of figures unknown. A message that is missing has
    another in its place, which says so; one whose place is lost comes after the one that was made before it.
    """
    for table, number, column, text in list(garbled(db)):
        db.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = ?", (text, number))  # noqa: S608
    for row in db.execute(
        "SELECT conversation, min(created_at) AS first, max(created_at) AS last FROM message"
        " WHERE conversation NOT IN (SELECT id FROM conversation) GROUP BY conversation"
    ).fetchall():
        said = db.execute(
            "SELECT text FROM message WHERE conversation = ? AND role = 'user' ORDER BY rowid LIMIT 1",
            (row["conversation"],),
        ).fetchone()
        db.execute(
            "INSERT INTO conversation (id, title, created_at, updated_at) VALUES (?, ?, ?, ?)",
            (row["conversation"], title_from(said["text"] if said else ""), row["first"], row["last"]),
        )
    while lost := unreachable(db):
        # With a parent again, those below may be reached too: they are left for the next look.
        orphans = [row for row in lost if not _is_there(db, row["parent"])]
        for row in orphans:
            if not _is_there(db, row["parent"]):  # Its sibling may have brought it back.
                _stand_in(db, row, _before(db, row))
        if not orphans:  # A circle, or a parent in another chat.
            db.execute("UPDATE message SET parent = ? WHERE id = ?", (_before(db, lost[0]), lost[0]["id"]))
    for row in db.execute(HEADLESS).fetchall():
        db.execute(
            "UPDATE conversation SET head ="
            " (SELECT id FROM message WHERE conversation = ?1 AND deleted_at IS NULL ORDER BY rowid DESC LIMIT 1)"
            " WHERE id = ?1",
            (row["id"],),
        )
    db.execute("UPDATE receipt SET conversation = NULL WHERE conversation NOT IN (SELECT id FROM conversation)")
    db.execute("UPDATE receipt SET message = NULL WHERE message NOT IN (SELECT id FROM message)")


def uncut(path: Path, copy: Path) -> bool:
    """Make a copy of a file whose end is missing that SQLite reads as far as it goes; say whether it is such a file.

    Raises OSError.
    """
    with path.open("rb") as file:
        head = file.read(100)
    page_size = int.from_bytes(head[_PAGE_SIZE])
    page_size = 65536 if page_size == 1 else page_size
    if not head.startswith(_MAGIC) or page_size < 512:
        return False
    pages = path.stat().st_size // page_size
    if not 0 < pages < int.from_bytes(head[_PAGES]):
        return False
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        file.truncate(pages * page_size)
        file.seek(_PAGES.start)
        file.write(pages.to_bytes(4))
    return True


def carry_over(damaged: sqlite3.Connection, db: sqlite3.Connection) -> int:
    """Copy every row that can be read into an empty database; return how many messages lost their text.

    Needs a transaction there, references unchecked.
    """
    damaged.row_factory = sqlite3.Row
    damaged.text_factory = readable
    with contextlib.suppress(*DAMAGE):
        damaged.execute("PRAGMA writable_schema = ON")  # What is wrong with one table is no reason to read none.
    for table in TABLES:
        columns = [row["name"] for row in db.execute(f"PRAGMA table_info({table})")]
        for row in _readable(damaged, table):
            values = {name: row[name] for name in columns if name in row.keys()}  # noqa: SIM118 - a row iterates values
            _insert(db, table, {"rowid": row["number_"], **values})
    return _stand_ins(damaged, db)


def _stand_ins(damaged: sqlite3.Connection, db: sqlite3.Connection) -> int:
    """Put messages that say so in the place of those that only the indexes know; return how many."""
    made = 0
    for number, known in sorted(_known_to_indexes(damaged).items()):
        if "conversation" not in known or "id" not in known or _is_there(db, str(known["id"])):
            continue
        parent = db.execute("SELECT role FROM message WHERE id = ?", (known.get("parent"),)).fetchone()
        role = "assistant" if parent is not None and parent["role"] == "user" else "user"
        text, state, error = _UNREAD_VALUES[role]
        row = {"rowid": number, "created_at": 0.0, **known, "role": role, "text": text, "state": state, "error": error}
        made += _insert(db, "message", row)
    return made


def _known_to_indexes(damaged: sqlite3.Connection) -> dict[int, dict[str, object]]:
    """Return what the indexes hold of messages, by their numbers: they lie on other pages."""
    known: dict[int, dict[str, object]] = {}
    for columns, name in _INDEXES:
        with contextlib.suppress(*DAMAGE):
            for row in damaged.execute(
                f"SELECT rowid AS number_, {columns} FROM message INDEXED BY {name} ORDER BY {columns}"  # noqa: S608
            ):
                values = dict(row)
                known.setdefault(values.pop("number_"), {}).update(values)
    return known


def _insert(db: sqlite3.Connection, table: str, values: dict[str, object]) -> bool:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    try:
        db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608 - our names
    except sqlite3.IntegrityError:
        return False  # The row is itself garbage.
    return True


def _is_there(db: sqlite3.Connection, message: str) -> bool:
    return db.execute("SELECT 1 FROM message WHERE id = ?", (message,)).fetchone() is not None


def _before(db: sqlite3.Connection, message: sqlite3.Row) -> str | None:
    """Return the message of the same chat that was made just before one."""
    row = db.execute(
        "SELECT id FROM message WHERE conversation = ? AND rowid < ? ORDER BY rowid DESC LIMIT 1",
        (message["conversation"], message["number"]),
    ).fetchone()
    return None if row is None else str(row["id"])


def _stand_in(db: sqlite3.Connection, child: sqlite3.Row, parent: str | None) -> None:
    """Put a message that says so in the place of one that is missing, and before the one that follows it."""
    hole = db.execute(
        "SELECT rowid + 1 AS number FROM message WHERE rowid < ?"
        " AND rowid + 1 NOT IN (SELECT rowid FROM message) ORDER BY rowid DESC LIMIT 1",
        (child["number"],),
    ).fetchone()
    number = hole["number"] if hole else db.execute("SELECT min(rowid) - 1 FROM message").fetchone()[0]
    role = "user" if child["role"] == "assistant" else "assistant"
    db.execute(
        "INSERT INTO message (rowid, id, conversation, parent, role, text, state, created_at, error)"
        " SELECT ?, ?, conversation, ?, ?, ?, ?, created_at, ? FROM message WHERE id = ?",
        (number, child["parent"], parent, role, *_UNREAD_VALUES[role], child["id"]),
    )


def _readable(damaged: sqlite3.Connection, table: str) -> Iterator[sqlite3.Row]:
    """Yield the rows of a table that can be read, each with its `number_`."""
    number, missed = 0, 0
    while missed < _GIVE_UP_AFTER:
        try:
            for row in damaged.execute(
                f"SELECT rowid AS number_, * FROM {table} WHERE rowid > ? ORDER BY rowid",  # noqa: S608
                (number,),
            ):
                number, missed = row["number_"], 0
                yield row
        except DAMAGE:
            # Past the damage one number at a time: a page holds few rows, a page of pages some thousands.
            number, missed = number + 1, missed + 1
        else:
            return
