"""The chats of the sidebar kept in order: read as far as they are near, opened, named, pinned, put aside, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from textual.app import SystemCommand
from textual.screen import Screen

from tui.chat.clean import clean_line
from tui.chat.session import Session
from tui.chat.storing import paging, shelf
from tui.chat.storing.paging import Page
from tui.chat.storing.stored import Conversation, StoreError
from tui.keys import filled
from tui.screens.chat import lists
from tui.screens.chat.offering import Asked
from tui.screens.chat.undoing import Deleted, Undoing
from tui.widgets.chat_list import ChatList
from tui.words import _

WINDOW, STEP = 150, 50


class Shelving:
    """Keeps the list of `screen`; `session` is what is open, `asked` what the screen does for it."""

    def __init__(
        self, screen: Screen[None], session: Callable[[], Session | None], undoing: Undoing, asked: Asked
    ) -> None:
        self._screen = screen
        self._session = session
        self._undoing = undoing
        self._asked = asked
        self._page = Page()

    def commands(self) -> Iterator[SystemCommand]:
        """Yield what the palette offers: all of it is about the chat that is open."""
        session = self._session()
        chat = session.conversation if session is not None else None
        if chat is not None:
            yield self._command(_("Rename this chat …"), filled(_("{chats.rename} in the chats")), "rename", chat)
            pin = _("Unpin this chat") if chat.pinned_at is not None else _("Pin this chat")
            yield self._command(pin, filled(_("{chats.pin} in the chats: it stays at the top")), "pin", chat)
            aside = _("Take this chat out of the archive") if chat.archived_at is not None else _("Archive this chat")
            told = filled(_("{chats.archive} in the chats: it is found at their end"))
            yield self._command(aside, told, "archive", chat)
            told = filled(_("{chats.delete} in the chats; {chats.undo} takes it back"))
            yield self._command(_("Delete this chat"), told, "delete", chat)
        what = _("Hide the archived chats") if self._page.shows_archived else _("Show the archived chats")
        yield SystemCommand(what, _("At the end of the list"), self.fold)
        told = filled(_("{chats.undo} in the chats, {messages.undo} in the messages"))
        yield SystemCommand(_("Take back what was deleted"), told, lambda: self.do("undo", ""))

    def _command(self, title: str, told: str, what: ChatList.Work, chat: Conversation) -> SystemCommand:
        return SystemCommand(title, told, lambda: self.do(what, chat.id))

    # The list.

    async def show(self) -> None:
        """Read the part of the list anew that is shown."""
        await self._tried_read(self._page.offset, archived=self._page.shows_archived)

    def near(self, step: int) -> None:
        """Read on: the reader is near an end of what is here."""
        offset = self._page.offset + step * STEP
        self._screen.run_worker(self._tried_read(offset, archived=self._page.shows_archived), group="chats-list")

    def fold(self) -> None:
        """Show the archived chats, or hide them again."""
        self._screen.run_worker(self._fold(), group="chats-list")

    async def _fold(self) -> None:
        await self._tried_read(self._page.offset, archived=not self._page.shows_archived)
        chats = self._screen.query_one(ChatList)
        if self._page.shows_archived and chats.has_focus:
            chats.scroll_to_highlight(top=True)

    async def _tried_read(self, offset: int, *, archived: bool) -> None:
        try:
            await self._read(offset, archived=archived)
        except StoreError as error:
            self._asked.failed(error)

    async def _read(self, offset: int, *, archived: bool) -> None:
        session = self._session()
        if session is None:
            return
        self._page = await asyncio.to_thread(paging.page, session.store, offset, WINDOW, archived=archived)
        shown, page = session.conversation.id if session.conversation else None, self._page
        lines = lists.chat_lines(page, shown)
        self._screen.query_one(ChatList).show(lines, more_before=page.more_before, more_after=page.more_after)

    # What is done with a chat.

    def do(self, what: ChatList.Work, conversation: str) -> None:
        """Begin to do something with a chat."""
        self._screen.run_worker(self._done(what, conversation), group="chats")

    async def _done(self, what: ChatList.Work, conversation: str) -> None:
        session = self._session()
        if session is None:
            return
        self._asked.say("")
        try:
            if what == "undo":
                await self._take_back(session)
            else:
                chat = await asyncio.to_thread(session.store.conversation, conversation)
                await {"rename": self._rename, "pin": self._pin, "archive": self._archive, "delete": self._delete}[
                    what
                ](session, chat)
            await session.reread()
        except StoreError as error:
            self._asked.failed(error)
        await self.show()

    async def _rename(self, session: Session, chat: Conversation) -> None:
        from tui.screens.title import TitleScreen

        title = await self._screen.app.push_screen_wait(TitleScreen(chat.title))
        if title is not None and title != clean_line(chat.title):
            await asyncio.to_thread(shelf.rename, session.store, chat.id, title)

    async def _pin(self, session: Session, chat: Conversation) -> None:
        await asyncio.to_thread(shelf.pin, session.store, chat.id, chat.pinned_at is None)
        self._asked.say(
            f"{_('Pinned') if chat.pinned_at is None else _('Not pinned any more')}: {clean_line(chat.title)}"
        )

    async def _archive(self, session: Session, chat: Conversation) -> None:
        await asyncio.to_thread(shelf.archive, session.store, chat.id, chat.archived_at is None)
        what = _("Archived: it is at the end of the chats") if chat.archived_at is None else _("Out of the archive")
        self._asked.say(f"{what}: {clean_line(chat.title)}")

    async def _delete(self, session: Session, chat: Conversation) -> None:
        await asyncio.to_thread(shelf.throw_away, session.store, chat.id)
        shown = session.conversation is not None and session.conversation.id == chat.id
        self._undoing.note(Deleted(chat.id, chat.title, shown=shown))
        if shown:
            await session.new()

    async def _take_back(self, session: Session) -> None:
        back = await self._undoing.take_back(session)
        self._asked.say(
            _("It is back: {title}").format(title=clean_line(back.title))
            if back is not None
            else _("Nothing was deleted here")
        )
