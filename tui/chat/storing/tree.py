"""The tree of a conversation: the versions of a message, the way between them, edits, and messages thrown away.

Nothing is overwritten. The order in which messages were made is that of their rows, whatever the clock said.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

import msgspec

from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoredMessage, StoreError, new_id, storable
from tui.chat.storing.writing import delete_messages, insert_answer, insert_question, still_there

_BELOW = """
    WITH RECURSIVE below (id, number, deleted_at, state) AS (
        SELECT id, rowid, deleted_at, state FROM message WHERE id = ?
        UNION
        SELECT message.id, message.rowid, message.deleted_at, message.state
        FROM message JOIN below ON message.parent = below.id
    )
    SELECT id, deleted_at, state FROM below ORDER BY number DESC
"""
_BESIDE = """
    SELECT other.id FROM message AS one JOIN message AS other
    ON other.conversation = one.conversation AND other.parent IS one.parent
    WHERE one.id = ? AND (other.deleted_at IS NULL OR other.id = one.id) ORDER BY other.rowid
"""


def versions(store: Store, branch: Sequence[StoredMessage]) -> dict[str, tuple[int, int]]:
    """Return, for each message of a branch that has other versions, which one it is and how many there are."""
    if not branch:
        return {}
    rows = store.rows(
        """
        SELECT id, number, many FROM (
            SELECT id, row_number() OVER (PARTITION BY parent ORDER BY rowid) AS number,
                count(*) OVER (PARTITION BY parent) AS many
            FROM message WHERE conversation = ? AND deleted_at IS NULL
        ) WHERE many > 1
        """,
        branch[0].conversation,
    )
    shown = {message.id for message in branch}
    return {row["id"]: (row["number"], row["many"]) for row in rows if row["id"] in shown}


def walk(store: Store, chat: str, message: str, step: int) -> str:
    """Show the version that is `step` after a message (before it, if negative), down to its newest end.

    Returns the new head. Where there is no such version, the nearest one is meant. Raises StoreError.
    """
    with store.transaction() as db:
        beside = [row["id"] for row in db.execute(_BESIDE, (message,))]
        if message not in beside:
            raise _gone(message)
        at = beside.index(message)
        wanted = min(max(at + step, 0), len(beside) - 1)
        return _head(db, chat) if wanted == at else _move(db, chat, beside[wanted])


def show(store: Store, chat: str, message: str) -> str:
    """Show a branch that holds a message; the one that is shown, if it does. Returns the head. Raises StoreError."""
    with store.transaction() as db:
        if db.execute(
            """
            WITH RECURSIVE up (id) AS (
                SELECT head FROM conversation WHERE id = ?
                UNION
                SELECT message.parent FROM message JOIN up ON message.id = up.id
            )
            SELECT 1 FROM up WHERE id = ?
            """,
            (chat, message),
        ).fetchone():
            return _head(db, chat)
        return _move(db, chat, message)


def begin_edit(store: Store, answer: str, asked: Asked, question: StoredMessage, text: str) -> StoredMessage:
    """Commit another version of a question, beside it, and the empty answer to that; return the answer's row.

    Raises StoreError.
    """
    now, edited = time.time(), new_id()
    with store.transaction() as db:
        still_there(db, question)
        insert_question(db, edited, question.conversation, question.parent, storable(text), now)
        return insert_answer(db, answer, asked, question.conversation, edited, now)


def throw_away_message(store: Store, message: str) -> str | None:
    """Mark a message, and what is below it, as deleted; if it was shown, show the nearest that is left.

    Returns the head as it was, for `take_back_message`. Raises StoreError if an answer in it is being written.
    """
    with store.transaction() as db:
        row = db.execute("SELECT conversation, parent, deleted_at FROM message WHERE id = ?", (message,)).fetchone()
        if row is None or row["deleted_at"] is not None:
            raise _gone(message)
        chat, head = row["conversation"], _head_or_none(db, row["conversation"])
        below = _below(db, message)
        if any(each["state"] == "streaming" for each in below):
            raise StoreError(
                "An answer to this message is still being written",
                repr(message),
                "Stop it or wait for its end, then delete the message.",
            )
        beside = [each["id"] for each in db.execute(_BESIDE, (message,))]
        db.execute(
            "UPDATE message SET deleted_at = ? WHERE deleted_at IS NULL AND id IN (SELECT value FROM json_each(?))",
            (_stamp(db, chat), _ids(below)),
        )
        if head in {each["id"] for each in below}:
            at = beside.index(message)
            near = [*reversed(beside[:at]), *beside[at + 1 :]]
            if near:
                _move(db, chat, near[0])
            else:
                db.execute("UPDATE conversation SET head = ? WHERE id = ?", (row["parent"], chat))
    return head


def take_back_message(store: Store, message: str, head: str | None = None) -> str:
    """Undo `throw_away_message`, and show the message again, with the `head` of before if it is below it.

    What was thrown away before it stays so. Returns the head. Raises StoreError if it is gone for good.
    """
    with store.transaction() as db:
        row = db.execute("SELECT conversation, parent, deleted_at FROM message WHERE id = ?", (message,)).fetchone()
        if row is None:
            raise _gone(message)
        parent = db.execute("SELECT deleted_at FROM message WHERE id = ?", (row["parent"],)).fetchone()
        if parent is not None and parent["deleted_at"] is not None:
            raise StoreError("What this message answers was deleted too", repr(message), "Take that back first.")
        below = [each for each in _below(db, message) if each["deleted_at"] == row["deleted_at"]]
        db.execute("UPDATE message SET deleted_at = NULL WHERE id IN (SELECT value FROM json_each(?))", (_ids(below),))
        if head in {each["id"] for each in below}:
            db.execute("UPDATE conversation SET head = ? WHERE id = ?", (head, row["conversation"]))
            return str(head)
        return _move(db, row["conversation"], message)


def purge_messages(store: Store, before: float) -> dict[str, list[str]]:
    """Delete for good what was thrown away until `before`; return the ids of the messages by chat. Raises StoreError.

    A chat that was thrown away itself is left to `shelf.purge`.
    """
    purged: dict[str, list[str]] = {}
    with store.transaction() as db:
        for row in db.execute(
            """
            WITH RECURSIVE going (id, conversation) AS (
                SELECT message.id, message.conversation FROM message
                JOIN conversation ON conversation.id = message.conversation
                WHERE message.deleted_at <= ? AND conversation.deleted_at IS NULL
                UNION
                SELECT message.id, message.conversation FROM message JOIN going ON message.parent = going.id
            )
            SELECT id, conversation FROM going
            """,
            (before,),
        ):
            purged.setdefault(row["conversation"], []).append(row["id"])
        for messages in purged.values():
            delete_messages(db, store.path, messages)
    return purged


def _move(db: sqlite3.Connection, chat: str, message: str) -> str:
    """Make the newest message below one the head: the newest has none below itself."""
    newest = next((each for each in _below(db, message) if each["deleted_at"] is None), None)
    if (
        newest is None
        or not db.execute(
            "UPDATE conversation SET head = ?1 WHERE id = ?2 AND deleted_at IS NULL"
            " AND EXISTS (SELECT 1 FROM message WHERE id = ?1 AND conversation = ?2)",
            (newest["id"], chat),
        ).rowcount
    ):
        raise _gone(message)
    return str(newest["id"])


def _below(db: sqlite3.Connection, message: str) -> list[sqlite3.Row]:
    """Return a message and all below it, the newest first."""
    return db.execute(_BELOW, (message,)).fetchall()


def _ids(rows: Sequence[sqlite3.Row]) -> str:
    return msgspec.json.encode([row["id"] for row in rows]).decode()


def _head(db: sqlite3.Connection, chat: str) -> str:
    head = _head_or_none(db, chat)
    if head is None:
        raise _gone(chat)
    return head


def _head_or_none(db: sqlite3.Connection, chat: str) -> str | None:
    row = db.execute("SELECT head FROM conversation WHERE id = ?", (chat,)).fetchone()
    return None if row is None else row["head"]


def _stamp(db: sqlite3.Connection, chat: str) -> float:
    """Return a time for what is thrown away now that nothing else of the chat has: it is taken back by it."""
    stamp = time.time()
    while db.execute("SELECT 1 FROM message WHERE conversation = ? AND deleted_at = ?", (chat, stamp)).fetchone():
        stamp += 1e-6
    return stamp


def _gone(message: str) -> StoreError:
    return StoreError("This message was deleted", repr(message), "Open the chat again to see what is left.")
