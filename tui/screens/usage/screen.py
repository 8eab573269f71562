"""The usage view: a month of receipts, by day, preset, backend or chat, one key each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from backends.errors import Problem
from tui import keys
from tui.chat.clean import clean
from tui.chat.storing.store import Store
from tui.chat.usage import Grouping
from tui.keys.bindings import bindings
from tui.screens.usage.content import GROUPINGS, content, head
from tui.screens.usage.reading import Found, Month, read, this_month
from tui.widgets.keyed import Scroll
from tui.words import _

WIDTH = 112
FIRST = Month(1970, 2)
_BORDER_AND_PADDING = 4
_SCROLLBAR = 1


class UsageScreen(ModalScreen[None]):
    """What `store` has receipts of. `published` are US dollars an answer, by preset."""

    CSS_PATH = "usage.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("usage")

    def __init__(self, store: Store, published: Mapping[str, float]) -> None:
        super().__init__()
        self._store = store
        self._published = published
        self._by: Grouping = "day"
        self._month = this_month()
        self._found: Found | None = None

    def compose(self) -> ComposeResult:
        with Scroll() as box:
            box.border_title = _("Usage: tokens, energy, money")
            box.border_subtitle = keys.filled(
                _(
                    "{usage.close} closes · {usage.day} {usage.preset} {usage.backend} {usage.chat} or "
                    "{usage.left} {usage.right} group · {usage.earlier} {usage.later} month"
                )
            )
            yield Static(id="usage-head")
            yield Static(id="usage-table")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self._turn_to(self._month, self._by)

    def on_resize(self) -> None:
        self._show()

    def action_by(self, by: Grouping) -> None:
        self._turn_to(self._month, by)

    def action_turn(self, step: int) -> None:
        order = list(GROUPINGS.values())
        self._turn_to(self._month, order[(order.index(self._by) + step) % len(order)])

    def action_month(self, step: int) -> None:
        month = self._month.moved(step)
        if FIRST <= month <= this_month():
            self._turn_to(month, self._by)
        else:
            self.app.bell()

    def _turn_to(self, month: Month, by: Grouping) -> None:
        self._month, self._by = month, by
        self.query_one("#usage-head", Static).update(head(month, by))
        self.run_worker(self._read(month, by), group="usage", exclusive=True)

    async def _read(self, month: Month, by: Grouping) -> None:
        try:
            self._found = await asyncio.to_thread(read, self._store, month, by, self._published)
        except Problem as problem:
            self._found = None
            text = "\n".join(part for part in (f"✗ {problem.title}", problem.detail, problem.hint) if part)
            self.query_one("#usage-table", Static).update(Content(clean(text)))
        else:
            self._show()

    def _show(self) -> None:
        if self._found is not None:
            width = min(self.app.size.width, WIDTH) - _BORDER_AND_PADDING - _SCROLLBAR
            self.query_one("#usage-table", Static).update(content(self._found, self._month, width))
