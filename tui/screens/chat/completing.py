"""What is offered while a command or the name of a file is typed; Tab takes it, and again the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rich.cells import cell_len
from textual.screen import Screen

from tui.chat import attaching, slash
from tui.chat.clean import clean_line
from tui.keys import filled
from tui.keys.table import KEYS
from tui.screens.chat.slashes import Slashes
from tui.widgets.composer import Composer
from tui.words import _


class Completing:
    """Offers for `composer`; `changed` is called when something else is offered than before."""

    def __init__(self, screen: Screen[None], composer: Composer, slashes: Slashes, changed: Callable[[], None]) -> None:
        self._screen = screen
        self._composer = composer
        self._slashes = slashes
        self._changed = changed
        self._offers: list[str] = []
        self._at: tuple[int, int] = (0, 0)
        self._taken: tuple[str, int] | None = None

    def look(self) -> None:
        """See whether what is typed now begins something; the answer comes by `changed`."""
        line, (row, column) = self._composer.document.get_line(self._composer.cursor_location[0]), self._cursor
        before = line[:column]
        if self._taken is not None and self._taken[0] == before:
            return  # Tab has put it there: what was offered still is.
        self._taken = None
        if row == 0 and before.startswith("/"):
            command = slash.BY_NAME.get(before[1:].partition(" ")[0])
            if command is not None and command.takes == "chat" and " " in before:
                self._screen.run_worker(self._chats(before), group="complete")
            else:
                self._commands(before, [])
        elif (token := attaching.begun(before)) is not None:
            self._screen.run_worker(self._files(before, token), group="complete")
        elif self._offers:
            self._offer([], (0, 0))

    def take(self) -> None:
        """Put what is offered into the text: the first one, and after that the next."""
        if not self._offers:
            return
        number = 0
        if self._taken is not None:
            number = (self._taken[1] + 1) % len(self._offers)
        (row, column), text = self._at, self._offers[number]
        self._composer.replace(text, (row, column), self._cursor)
        self._composer.move_cursor((row, column + len(text)))
        self._taken = self._composer.document.get_line(row)[: column + len(text)], number
        if len(self._offers) == 1:  # Nothing to go round in: what follows it is offered.
            self._taken = None
            self.look()
        else:
            self._changed()

    def told(self, width: int) -> str:
        """Return what is offered, as much as fits into so many cells; "" for nothing."""
        if not self._offers:
            return ""
        first = self._taken[1] if self._taken is not None else 0
        turned = [_short(offer) for offer in self._offers[first:] + self._offers[:first]]
        key = filled(_("{composer.complete} takes it"))
        if len(turned) == 1:
            what = self._help(turned[0])
            return f"{turned[0]}  {what} · {key}" if what else f"{turned[0]}  {key}"
        told = turned[0]
        for offer in turned[1:]:
            if cell_len(told) + cell_len(offer) + cell_len(key) + 6 > width:
                told += " …"
                break
            told += f"  {offer}"
        return f"{told} · {key}"

    def _help(self, offer: str) -> str:
        command = slash.BY_NAME.get(offer.removeprefix("/"))
        if command is None:
            return ""
        return _(command.help or KEYS[command.does].help)

    async def _chats(self, before: str) -> None:
        self._commands(before, await self._slashes.chats())

    def _commands(self, before: str, chats: Sequence[str]) -> None:
        offers = slash.offers(before, self._slashes.presets, chats)
        self._offer([offer for offer in offers if offer != before], (0, 0), before)

    async def _files(self, before: str, token: str) -> None:
        offers = await asyncio.to_thread(attaching.offers, token)
        at = (self._composer.cursor_location[0], len(before) - len(token))
        self._offer([offer for offer in offers if offer != token], at, before)

    def _offer(self, offers: list[str], at: tuple[int, int], before: str = "") -> None:
        row, column = self._cursor
        if before and self._composer.document.get_line(row)[:column] != before:
            return  # It was typed on; another look is under way.
        if not offers and not self._offers:
            return
        self._offers, self._at, self._taken = offers, at, None
        self._composer.offering = bool(offers)
        self._changed()

    @property
    def _cursor(self) -> tuple[int, int]:
        return self._composer.cursor_location


def _short(offer: str) -> str:
    """Return an offer without the command that all of them begin with."""
    command, blank, rest = clean_line(offer).strip().partition(" ")
    return rest if blank and command.startswith("/") else clean_line(offer).strip()
