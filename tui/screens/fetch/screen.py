"""The question before a model is fetched, above the chat: what it is, and Enter for what makes sense."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from tui.keys.bindings import bindings
from tui.screens.fetch.content import content, keys, title
from tui.screens.fetch.offer import Offer
from tui.widgets.keyed import Scroll
from tui.widgets.lines import Lines

WIDTH = 78
_BORDER_AND_PADDING = 6

Answer = Literal["fetch", "force", "use", "leave"]
"""`force` fetches also onto a disk that is too full, `use` takes the model where another program keeps it."""


class FetchScreen(ModalScreen[Answer]):
    """Asks about one offer, which may be replaced by a better one while the question stands."""

    CSS_PATH = "fetch.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("fetch")

    def __init__(self, offer: Offer) -> None:
        super().__init__()
        self.offer = offer

    def compose(self) -> ComposeResult:
        with Scroll():
            yield Lines()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self._show()

    def on_resize(self) -> None:
        self._show()

    def take(self, offer: Offer) -> None:
        """Show what more is known now."""
        if offer != self.offer:
            self.offer = offer
            if self.is_current:
                self._show()

    def action_choose(self) -> None:
        if self.offer.elsewhere is not None:
            self.dismiss("use")
        elif self.offer.missing_bytes:
            self.app.bell()
        else:
            self.dismiss("fetch")

    def action_fetch(self) -> None:
        self.dismiss("force" if self.offer.missing_bytes else "fetch")

    def action_leave(self) -> None:
        self.dismiss("leave")

    def _show(self) -> None:
        box = self.query_one(VerticalScroll)
        box.border_title = Content(title(self.offer)).markup
        box.border_subtitle = keys(self.offer)
        width = min(self.app.size.width, WIDTH) - _BORDER_AND_PADDING
        self.query_one(Lines).show(content(self.offer, width))
