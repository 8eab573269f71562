"""Chats of many messages, written into the store at once."""

from __future__ import annotations

from tui.chat.searching import indexing
from tui.chat.storing.store import Store
from tui.chat.storing.stored import new_id


def long_chat(messages: int) -> str:
    """Write a chat of so many messages; return its id."""
    store, chat, before = Store(), new_id(), None
    with store.transaction() as db:
        db.execute("INSERT INTO conversation (id, title, created_at, updated_at) VALUES (?, 'Long', 1, 1)", (chat,))
        for number in range(messages):
            role, one = ("assistant" if number % 2 else "user"), new_id()
            db.execute(
                "INSERT INTO message (id, conversation, parent, role, text, state, created_at)"
                " VALUES (?, ?, ?, ?, ?, 'done', 1)",
                (one, chat, before, role, f"message {number}\n\n" + "more of it\n" * 5),
            )
            before = one
        db.execute("UPDATE conversation SET head = ? WHERE id = ?", (before, chat))
        indexing.later(db)
    store.close()
    return chat
