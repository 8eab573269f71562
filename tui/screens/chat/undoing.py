"""What was deleted on this screen and can be taken back: the last thing first, until something is asked."""

from __future__ import annotations

import asyncio

import msgspec

from tui.chat.clean import clean_line
from tui.chat.session import Session
from tui.chat.storing import shelf
from tui.chat.storing.stored import title_from
from tui.keys import shown
from tui.words import _


class Deleted(msgspec.Struct, frozen=True):
    """A chat, or of it a `message` and what is below it; `head` is the end of the branch that was shown.

    `shown` says that it was open.
    """

    chat: str
    title: str
    message: str | None = None
    head: str | None = None
    shown: bool = True


class Undoing:
    """Remembers what was deleted. It is gone for good a week later; `chats restore` finds it until then."""

    def __init__(self) -> None:
        self._deleted: list[Deleted] = []

    def note(self, deleted: Deleted) -> None:
        self._deleted.append(deleted)

    def forget(self) -> None:
        """Say no more that something can be taken back: the conversation went on."""
        self._deleted.clear()

    def words(self, *, typing: bool) -> str:
        """Return what can be taken back and how, "" if nothing can. In the composer the key would be a letter."""
        if not self._deleted:
            return ""
        last, many = self._deleted[-1], len(self._deleted)
        key = shown("messages.undo" if last.message is not None or typing else "chats.undo")
        back = _("{key} in the messages takes it back") if typing else _("{key} takes it back")
        more = _(", then {count} more").format(count=many - 1) if many > 1 else ""
        told, title = back.format(key=key) + more, clean_line(title_from(last.title))
        return _("Deleted · {told}: {title}").format(told=told, title=title)

    async def take_back(self, session: Session) -> Deleted | None:
        """Undo the last deletion and show what it was; return it, None if there is none. Raises StoreError."""
        if not self._deleted:
            return None
        last = self._deleted.pop()
        if last.message is not None:
            await session.take_back(last.chat, last.message, last.head)
        else:
            await asyncio.to_thread(shelf.take_back, session.store, last.chat)
            if last.shown:
                await session.open(last.chat)
        return last
