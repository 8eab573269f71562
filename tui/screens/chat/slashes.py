"""`/` commands carried out: each as if its key had been pressed where it means something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.screen import Screen
from textual.widget import Widget

from backends.errors import Problem
from tui.chat.clean import clean_line
from tui.chat.session import Session
from tui.chat.slash import Call
from tui.chat.storing.stored import Conversation
from tui.keys.table import KEYS, PLACES
from tui.screens.chat.choosing import Presets
from tui.screens.chat.offering import Asked
from tui.widgets.chat_list import ChatList
from tui.widgets.composer import Composer
from tui.widgets.sidebar import PresetList
from tui.widgets.transcript import Transcript
from tui.words import _

CHATS = 500
"""How many chats, the last ones, a title is looked for in."""


class Slashes:
    """Carries out commands on `screen`."""

    def __init__(
        self,
        screen: Screen[None],
        session: Callable[[], Session | None],
        presets: Callable[[], Presets],
        asked: Asked,
    ) -> None:
        self._screen = screen
        self._session = session
        self._presets = presets
        self._asked = asked

    @property
    def presets(self) -> list[str]:
        """The names of the presets there are."""
        return [entry.name for entry in self._presets().entries]

    async def chats(self) -> list[str]:
        """Return the titles of the chats, the one used last first."""
        return list(dict.fromkeys(clean_line(chat.title) for chat in await self._chats()))

    async def run(self, call: Call) -> bool:
        """Do what a command says; say whether it could be begun. Why it could not is told."""
        does, rest = call.command.does, call.rest
        match PLACES.get(does, does):
            case "everywhere":
                self._run(self._screen, does)
            case "composer":
                self._run(self._screen.query_one(Composer), does)
            case "messages":
                self._run(self._screen.query_one(Transcript), does)
            case "chats":
                session = self._session()
                if session is None or session.conversation is None:
                    self._asked.say(_("There is no chat yet"))
                    return False
                await self._of_chat(does.partition(".")[2], session.conversation.id)
            case "presets" | "preset":
                return self._of_preset(does.partition(".")[2], rest)
            case "chat":
                return await self._open(rest)
            case "archived":
                self._screen.post_message(ChatList.Folded())
            case "usage":
                self._screen.call_later(self._screen.run_action, "usage")
            case "redraw":
                self._screen.call_later(self._screen.run_action, "app.redraw")
        return True

    def _run(self, where: Screen[None] | Widget, does: str) -> None:
        where.call_later(where.run_action, KEYS[does].action)

    async def _of_chat(self, what: str, chat: str) -> None:
        if what in {"rename", "pin", "archive", "delete"}:
            self._screen.post_message(ChatList.Worked(what, chat))  # type: ignore[arg-type]  # it is one of them

    def _of_preset(self, what: str, name: str) -> bool:
        found = self._named(name)
        if found is None:
            names = ", ".join(self.presets)
            self._asked.say(_("There is no preset {name}. There are: {names}").format(name=name or "?", names=names))
            return False
        if what in {"edit", "copy", "delete"}:
            self._screen.post_message(PresetList.Worked(what, found))  # type: ignore[arg-type]  # likewise
        else:
            self._screen.post_message(PresetList.Chosen(found))
        return True

    def _named(self, name: str) -> str | None:
        """Return the preset of a name, of the only name that begins so, or of a key's number; None for no such one."""
        presets = self._presets()
        if presets.entry(name) is not None:
            return name
        if name.isdecimal() and presets.in_slot(int(name)):
            return presets.in_slot(int(name))
        begins = [each for each in self.presets if name and each.lower().startswith(name.lower())]
        return begins[0] if len(begins) == 1 else None

    async def _open(self, words: str) -> bool:
        """Open the chat of exactly this title, or else the last one with all the words in it."""
        wanted = words.lower().split()
        chats = await self._chats()
        exact = [chat for chat in chats if clean_line(chat.title) == words]
        found = exact or [chat for chat in chats if wanted and all(one in chat.title.lower() for one in wanted)]
        if not found:
            self._asked.say(_("No chat has these words in its title: {words}").format(words=clean_line(words) or "?"))
            return False
        self._screen.post_message(ChatList.Opened(found[0].id))
        return True

    async def _chats(self) -> list[Conversation]:
        session = self._session()
        try:
            return [] if session is None else await asyncio.to_thread(session.store.conversations, CHATS)
        except Problem:
            return []
