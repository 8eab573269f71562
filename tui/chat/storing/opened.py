"""A conversation as it is read from the store to be shown: itself, the branch of its head, and what has versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from tui.chat.history import last_question
from tui.chat.storing import tree
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation, StoredMessage, StoreError


class Opened(msgspec.Struct, frozen=True):
    """`versions` says of the messages of the branch that have others beside them which one each is, and of how many."""

    conversation: Conversation
    branch: list[StoredMessage]
    versions: Mapping[str, tuple[int, int]] = {}


def read(store: Store, conversation: str) -> Opened:
    """Read a conversation by its id, or the beginning of it. Raises StoreError."""
    chat = store.conversation(conversation)
    branch = store.branch(chat.id)
    return Opened(chat, branch, tree.versions(store, branch))


class News(msgspec.Struct, frozen=True):
    """What other programs have changed: `changes` is the store's count, `opened` the chat if it is still there."""

    changes: int
    opened: Opened | None


def news(store: Store, seen: int, chat: Conversation | None) -> News | None:
    """Return what is new since the store counted `seen`, None if nothing is or it cannot be read for the moment.

    Raises StoreError.
    """
    try:
        changes = store.changes()
        if changes == seen:
            return None
        return News(changes, None if chat is None or gone(store, chat.id) else read(store, chat.id))
    except StoreError as error:
        if passing(error):
            return None  # The next look comes soon.
        raise


def gone(store: Store, conversation: str) -> bool:
    """Say whether a conversation was deleted, or thrown away. Raises StoreError."""
    return not store.rows("SELECT 1 FROM conversation WHERE id = ? AND deleted_at IS NULL", conversation)


def deleted_elsewhere(chat: Conversation) -> StoreError:
    """Return the error of a conversation that is gone while it is shown."""
    return StoreError(
        "The chat that was open here was deleted by another program",
        chat.title,
        "For a week `deepseek-tui chats restore` brings back what was deleted on a screen.",
    )


def passing(error: StoreError) -> bool:
    """Say whether a failure is over by itself: another program writes at the moment."""
    return isinstance(error.__cause__, sqlite3.OperationalError) and "locked" in str(error.__cause__)


def question_of(branch: Sequence[StoredMessage], message: str | None) -> StoredMessage | None:
    """Return the question that a message is, or answers; None means the last message."""
    place = len(branch) - 1 if message is None else place_of(branch, message)
    return last_question(branch[: place + 1])


def place_of(branch: Sequence[StoredMessage], message: str) -> int:
    """Return where in a branch a message stands. Raises StoreError if it is not in it."""
    place = next((place for place, one in enumerate(branch) if one.id == message), None)
    if place is None:
        raise StoreError("This message is not shown any more", repr(message), "Choose another one.")
    return place
