"""Conversations as things on a shelf: named, pinned, put aside, thrown away, taken back, and gone for good."""

from __future__ import annotations

import time

import msgspec

from tui.chat.asking import Asking
from tui.chat.storing import tree
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation, StoreError, kept_asking, storable, title_from
from tui.chat.storing.writing import delete_messages, not_streaming


class Purged(msgspec.Struct, frozen=True):
    """What was deleted for good of one chat: all of it if `whole`. Its spools and states are the caller's to forget."""

    conversation: str
    messages: tuple[str, ...]
    whole: bool


def rename(store: Store, chat: str, title: str) -> None:
    """Give a chat a title of one line; an empty one brings back that from its first question. Raises StoreError."""
    title = " ".join(storable(title).split())
    with store.transaction() as db:
        if title:
            done = db.execute(
                "UPDATE conversation SET title = ?, renamed = 1 WHERE id = ? AND deleted_at IS NULL", (title, chat)
            )
        else:
            first = db.execute(
                "SELECT text FROM message WHERE conversation = ? AND parent IS NULL AND role = 'user'"
                " ORDER BY deleted_at IS NOT NULL, rowid LIMIT 1",
                (chat,),
            ).fetchone()
            done = db.execute(
                "UPDATE conversation SET title = ?, renamed = 0 WHERE id = ? AND deleted_at IS NULL",
                (title_from(first["text"] if first else ""), chat),
            )
        if not done.rowcount:
            raise _gone(chat)


def pin(store: Store, chat: str, on: bool) -> None:
    """Keep a conversation at the top of the list, or no more. Raises StoreError."""
    _mark(store, chat, "UPDATE conversation SET pinned_at = ? WHERE id = ? AND deleted_at IS NULL", on=on)


def archive(store: Store, chat: str, on: bool) -> None:
    """Put a conversation aside, out of the list, or back into it. Raises StoreError."""
    _mark(store, chat, "UPDATE conversation SET archived_at = ? WHERE id = ? AND deleted_at IS NULL", on=on)


def ask_so(store: Store, chat: Conversation, asking: Asking) -> Conversation:
    """Keep what a chat asks of its model from its next question on; return it as it is then. Raises StoreError."""
    with store.transaction() as db:
        done = db.execute(
            "UPDATE conversation SET asking = ? WHERE id = ? AND deleted_at IS NULL", (kept_asking(asking), chat.id)
        )
        if not done.rowcount:
            raise _gone(chat.id)
    return msgspec.structs.replace(chat, asking=asking if asking.names else None, asking_lost=False)


def throw_away(store: Store, chat: str) -> None:
    """Mark a conversation as deleted. Raises StoreError if it is gone, or an answer in it is still being written."""
    with store.transaction() as db:
        not_streaming(db, chat)
        if not db.execute(
            "UPDATE conversation SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL", (time.time(), chat)
        ).rowcount:
            raise _gone(chat)


def take_back(store: Store, chat: str) -> None:
    """Undo `throw_away`. Raises StoreError if the conversation is gone for good."""
    with store.transaction() as db:
        if not db.execute("UPDATE conversation SET deleted_at = NULL WHERE id = ?", (chat,)).rowcount:
            raise _gone(chat)


def purge(store: Store, older_than_s: float) -> list[Purged]:
    """Delete for good what was thrown away at least so long ago, chats and messages. Raises StoreError.

    One transaction a chat, so that nobody waits long. The caller forgets spools and states. The index is rid of words
    of before too that are still in it.
    """
    before = time.time() - older_than_s
    purged = []
    for row in store.rows("SELECT id FROM conversation WHERE deleted_at <= ?", before):
        with store.transaction() as db:
            # It may have been taken back, or purged by another, since.
            if db.execute(
                "SELECT 1 FROM conversation WHERE id = ? AND deleted_at <= ?", (row["id"], before)
            ).fetchone():
                messages = not_streaming(db, row["id"])
                delete_messages(db, store.path, messages)
                db.execute("DELETE FROM conversation WHERE id = ?", (row["id"],))
                purged.append(Purged(row["id"], tuple(messages), whole=True))
    for chat, messages in tree.purge_messages(store, before).items():
        purged.append(Purged(chat, tuple(messages), whole=False))
    store.swept()
    return purged


def _mark(store: Store, chat: str, statement: str, *, on: bool) -> None:
    with store.transaction() as db:
        if not db.execute(statement, (time.time() if on else None, chat)).rowcount:
            raise _gone(chat)


def _gone(chat: str) -> StoreError:
    return StoreError("There is no such chat", repr(chat), "It was deleted.")
