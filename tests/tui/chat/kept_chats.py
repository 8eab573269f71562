"""Conversations to look after: three chats of three turns each, and what a report says of them."""

from __future__ import annotations

from backends.events import Done, Text
from backends.host.wire import Record
from tui.chat.answer import fold
from tui.chat.storing import upkeep
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoredMessage, new_id

ASKED = Asked("starter", "echo", "model")


def turn(store: Store, text: str, chat: str | None = None, said: str = "answer") -> StoredMessage:
    row = store.begin(new_id(), ASKED, text, chat)
    assert store.finish(row.id, fold([Record("a", 0, 1.0, Text(said)), Record("a", 1, 2.0, Done("stop"))]))
    return row


def kinds(report: upkeep.Report) -> list[str]:
    return [finding.kind for finding in report.findings]


def three_chats() -> list[str]:
    """Make three chats of three turns each; return their ids."""
    store = Store()
    made = []
    for number in range(3):
        chat = None
        for other in range(3):
            chat = turn(store, f"question {number} {other}", chat, f"answer {number} {other}").conversation
        made.append(chat or "")
    store.close()
    return made


def beside(store: Store, message: str) -> list[str]:
    """The versions of a message, itself among them, in the order in which one walks through them."""
    row = store.message(message)
    assert row is not None
    found = store.rows(
        "SELECT id FROM message WHERE conversation = ? AND parent IS ? AND deleted_at IS NULL ORDER BY rowid",
        row.conversation,
        row.parent,
    )
    return [one["id"] for one in found]
