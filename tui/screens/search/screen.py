"""The search over the chat: one line to type, and what it finds, newest first, further as one goes down."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui import keys
from tui.chat.clean import clean_line
from tui.chat.searching import search
from tui.chat.searching.search import Hit
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError
from tui.keys.bindings import bindings
from tui.screens.search.content import option, told
from tui.widgets.keyed import TextLine
from tui.widgets.lines import Line
from tui.words import _

DEBOUNCE_S = 0.12
PAGE = 40
NEAR = 8
CATCH_UP_S = 0.1
_FIRST = 2**62


class Found(msgspec.Struct, frozen=True):
    """A hit that was chosen, and what was looked for."""

    hit: Hit
    text: str


class SearchScreen(ModalScreen[Found | None]):
    """Searches `store`, beginning with `text`. Ends with what was chosen, None if nothing was."""

    CSS_PATH = "search.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("search")

    def __init__(self, store: Store, text: str = "") -> None:
        super().__init__()
        self._store = store
        self._text = text
        self._hits: list[Hit] = []
        self._more = False
        self._reading = False
        self._complete = True
        self._wait: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = _("Find in all chats")
            box.border_subtitle = keys.filled(
                _("{line.submit} opens · {search.up} {search.down} choose · {search.leave} closes")
            )
            yield TextLine(self._text, placeholder=_("What was said or thought"), compact=True, select_on_focus=True)
            hits = OptionList(markup=False)
            hits.can_focus = False
            yield hits
            yield Line()

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._tell()
        self._look()
        self.run_worker(self._catch_up(), group="catch-up")

    def on_resize(self) -> None:
        at = self._list.highlighted
        self._show(self._hits)
        self._list.highlighted = at

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._wait is not None:
            self._wait.stop()
        self._wait = self.set_timer(DEBOUNCE_S, self._look)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value != self._text:  # Faster than the results: they are for what was typed before.
            self.run_worker(self._open_first(), group="search", exclusive=True)
        else:
            self._choose(self._list.highlighted or 0)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._choose(event.option_index)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if self._more and not self._reading and event.option_index >= len(self._hits) - NEAR:
            self._reading, before = True, self._hits[-1].place
            self.run_worker(self._read_on(self._text, _FIRST if before is None else before), group="search-on")

    def action_move(self, how: str) -> None:
        if self._list.size.height:  # Textual's list cannot turn pages of no height.
            getattr(self._list, f"action_{how}")()

    def action_leave(self) -> None:
        self.dismiss(None)

    def _choose(self, place: int) -> None:
        if place < len(self._hits):
            self.dismiss(Found(self._hits[place], self._text))
        else:
            self.app.bell()

    # Looking.

    def _look(self) -> None:
        text = self.query_one(Input).value
        if text != self._text or not self._hits:
            self.run_worker(self._search(text), group="search", exclusive=True)

    async def _open_first(self) -> None:
        await self._search(self.query_one(Input).value)
        self._choose(0)

    async def _search(self, text: str) -> None:
        """Show what is found for `text`. A search that is overtaken shows nothing.

        One more for the same text keeps as many hits as there are, and the one that is stood on.
        """
        hits: list[Hit] = []
        most = 0
        while most < (wanted := max(PAGE, len(self._hits) if text == self._text else 0)):
            most = wanted
            try:
                hits = await asyncio.to_thread(search.search, self._store, text, most)
                self._complete = await asyncio.to_thread(search.complete, self._store)
            except StoreError as error:
                self._say(f"✗ {error.title}: {error.detail}")
                return
        at = self._list.highlighted
        stood_on = self._hits[at] if text == self._text and at is not None and at < len(self._hits) else None
        self._text, self._more = text, len(hits) == most
        self._show(hits)
        if hits:
            self._list.highlighted = hits.index(stood_on) if stood_on in hits else 0

    async def _read_on(self, text: str, before: int) -> None:
        """Show what is older than the last hit, whose place is `before`."""
        try:
            older = await asyncio.to_thread(search.search, self._store, text, PAGE, before=before)
        except StoreError as error:
            self._say(f"✗ {error.title}: {error.detail}")
            return
        finally:
            self._reading = False
        last = self._hits[-1].place if self._hits else None
        if text == self._text and before in {last, _FIRST}:  # Else others were found meanwhile.
            self._hits += older
            self._more = len(older) == PAGE
            self._list.add_options(self._options(older))
            self._tell()

    async def _catch_up(self) -> None:
        """Read in what is not indexed yet, while somebody waits for it."""
        try:
            while not await asyncio.to_thread(search.catch_up, self._store, CATCH_UP_S):
                self._complete = False
                self._tell()
                await asyncio.sleep(CATCH_UP_S)
        except StoreError as error:
            self._say(f"✗ {error.title}: {error.detail}")
            return
        if not self._complete:
            self._complete = True
            await self._search(self.query_one(Input).value)

    # Showing.

    def _show(self, hits: list[Hit]) -> None:
        self._hits = hits
        self._list.set_options(self._options(hits))
        self._tell()

    def _options(self, hits: list[Hit]) -> list[Option]:
        width = self._list.scrollable_content_region.width
        return [Option(option(hit, width)) for hit in hits]

    def _tell(self) -> None:
        text = self.query_one(Input).value
        searching = text != self._text
        line = told(text, len(self._hits), more=self._more, searching=searching, complete=self._complete)
        self._say(line)

    def _say(self, text: str) -> None:
        self.query_one(Line).say(clean_line(text))

    @property
    def _list(self) -> OptionList:
        return self.query_one(OptionList)
