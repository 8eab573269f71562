"""The list of conversations a window at a time: however many there are, few are read."""

from __future__ import annotations

import msgspec

from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation, StoreError, conversation_of

LAST = "last"
"""Instead of an id: the conversation used last."""


class Page(msgspec.Struct, frozen=True):
    """A part of the list, from place `offset` on: of the `listed` ones, then of the `archived` ones if they are shown.

    `chats` and `put_aside` are the two kinds in it.
    """

    chats: tuple[Conversation, ...] = ()
    put_aside: tuple[Conversation, ...] = ()
    offset: int = 0
    listed: int = 0
    archived: int = 0
    shows_archived: bool = False

    @property
    def more_before(self) -> bool:
        """Whether the list begins before it."""
        return self.offset > 0

    @property
    def more_after(self) -> bool:
        """Whether the list goes on after it."""
        whole = self.listed + (self.archived if self.shows_archived else 0)
        return self.offset + len(self.chats) + len(self.put_aside) < whole


def page(store: Store, offset: int, count: int, *, archived: bool) -> Page:
    """Read `count` conversations from a place on, or the last ones if there are not so many. Raises StoreError."""
    row = store.rows(
        "SELECT count(*) - count(archived_at) AS listed, count(archived_at) AS archived"
        " FROM conversation WHERE deleted_at IS NULL"
    )[0]
    listed, put_aside = row["listed"], row["archived"]
    whole = listed + (put_aside if archived else 0)
    offset = max(0, min(offset, whole - count))
    chats = store.conversations(count, offset) if offset < listed else []
    room = count - len(chats)
    after = store.conversations(room, max(0, offset - listed), archived=True) if archived and room > 0 else []
    return Page(tuple(chats), tuple(after), offset, listed, put_aside, archived)


def every(store: Store) -> list[Conversation]:
    """Return all conversations, the archived ones last. Raises StoreError."""
    return store.conversations(-1) + store.conversations(-1, archived=True)


def last_used(store: Store) -> Conversation | None:
    """Return the conversation in which something was said last, None if there is none. Raises StoreError.

    An archived one only if there is no other.
    """
    rows = store.rows(
        "SELECT * FROM conversation WHERE deleted_at IS NULL"
        " ORDER BY archived_at IS NOT NULL, updated_at DESC, id LIMIT 1"
    )
    return conversation_of(rows[0]) if rows else None


def named(store: Store, wanted: str) -> Conversation:
    """Return a conversation by its id, the beginning of it, or "last". Raises StoreError."""
    if wanted != LAST:
        return store.conversation(wanted)
    found = last_used(store)
    if found is None:
        raise StoreError("There are no chats yet", "", 'Begin one: deepseek-tui ask "Why is the sky blue?"')
    return found
