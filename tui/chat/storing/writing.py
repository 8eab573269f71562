"""The rows that make a conversation grow, written inside a transaction of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from backends.base import Partial
from backends.host import spool
from tui.chat.asking import Asking
from tui.chat.searching import indexing
from tui.chat.storing import copying
from tui.chat.storing.stored import (
    Asked,
    StoredMessage,
    StoreError,
    kept_asking,
    message_of,
    new_id,
    title_from,
)


def insert_conversation(db: sqlite3.Connection, text: str, asked: Asked, asking: Asking | None, now: float) -> str:
    """Write a conversation that begins with the question `text`; return its id."""
    conversation = new_id()
    db.execute(
        "INSERT INTO conversation (id, title, created_at, updated_at, preset, asking) VALUES (?, ?, ?, ?, ?, ?)",
        (conversation, title_from(text), now, now, asked.preset, kept_asking(asking)),
    )
    return conversation


def insert_question(
    db: sqlite3.Connection, question: str, conversation: str, parent: str | None, text: str, now: float
) -> None:
    """Write what a person says."""
    db.execute(
        "INSERT INTO message (id, conversation, parent, role, text, state, created_at)"
        " VALUES (?, ?, ?, 'user', ?, 'done', ?)",
        (question, conversation, parent, text, now),
    )
    indexing.index(db, [question])


def insert_answer(
    db: sqlite3.Connection,
    answer: str,
    asked: Asked,
    conversation: str,
    question: str,
    now: float,
    before: Partial | None = None,
) -> StoredMessage:
    """Write the row of an answer that is to come, which begins with `before`, and make it the head."""
    text, reasoning = (before.text, before.reasoning) if before else ("", "")
    db.execute(
        "INSERT INTO message"
        " (id, conversation, parent, role, text, reasoning, state, preset, backend, model, created_at)"
        " VALUES (?, ?, ?, 'assistant', ?, ?, 'streaming', ?, ?, ?, ?)",
        (answer, conversation, question, text, reasoning, asked.preset, asked.backend, asked.model, now),
    )
    db.execute(
        "UPDATE conversation SET head = ?, updated_at = ?, preset = ? WHERE id = ?",
        (answer, now, asked.preset, conversation),
    )
    return message_of(db.execute("SELECT * FROM message WHERE id = ?", (answer,)).fetchone())


def delete_messages(db: sqlite3.Connection, path: Path, messages: Sequence[str]) -> None:
    """Delete messages for good, their words in the index, in spools and in copies beside the database at `path` too.

    The last one first: SQLite follows a reference only through a thousand rows, and a chat may be longer.
    """
    indexing.forget(db, messages)
    rows = db.execute(
        "SELECT rowid FROM message WHERE id IN (SELECT value FROM json_each(?)) ORDER BY rowid DESC",
        (msgspec.json.encode(list(messages)).decode(),),
    ).fetchall()
    db.executemany("DELETE FROM message WHERE rowid = ?", ((row["rowid"],) for row in rows))
    # Before the commit: if a copy cannot be deleted, or nobody lives to do it, then nothing is. A spool of a finished
    # answer that outlived its row would be taken for an answer whose chat was lost.
    for answer in set(spool.answers()).intersection(messages):
        spool.remove(answer)
    copying.drop_old(path)


def still_there(db: sqlite3.Connection, message: StoredMessage) -> None:
    """Raise StoreError if a message, or its chat, was deleted or thrown away meanwhile."""
    row = db.execute(
        "SELECT message.deleted_at FROM message JOIN conversation ON conversation.id = message.conversation"
        " WHERE message.id = ? AND conversation.deleted_at IS NULL",
        (message.id,),
    ).fetchone()
    if row is None:
        raise chat_deleted(message.conversation)
    if row["deleted_at"] is not None:
        raise StoreError("This message was deleted", repr(message.id), "Take it back, or ask anew.")


def chat_deleted(conversation: str) -> StoreError:
    return StoreError("This chat was deleted", repr(conversation), "Start a new one.")


def not_streaming(db: sqlite3.Connection, conversation: str) -> list[str]:
    """Return the ids of all messages of a chat. Raises StoreError if an answer in it is still being written."""
    rows = db.execute("SELECT id, state FROM message WHERE conversation = ?", (conversation,)).fetchall()
    if any(row["state"] == "streaming" for row in rows):
        raise StoreError(
            "An answer in this chat is still being written",
            repr(conversation),
            "Stop it or wait for its end, then delete the chat.",
        )
    return [row["id"] for row in rows]
