"""The view that explains every figure, as long as it is open at what is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.screens.figures.content import View, content

REFRESH_S = 1.0
_BORDER_AND_PADDING = 4
_SCROLLBAR = 1


class FiguresScreen(ModalScreen[None]):
    """Every figure. `look` returns what there is to see now; `usage` opens the usage over time."""

    CSS_PATH = "figures.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f9,q,ctrl+c", "dismiss", "Close", show=False, id="figures.close"),
        Binding("u", "usage", "Usage", show=False, id="figures.usage"),
    ]

    def __init__(self, look: Callable[[], View], usage: Callable[[], None]) -> None:
        super().__init__()
        self._look = look
        self._usage = usage
        self._content = Content("")

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = "Every figure explained"
            box.border_subtitle = "Esc closes · ↑ ↓ scroll · u: usage over time"
            yield Static()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self._show()
        self.set_interval(REFRESH_S, self._show)

    def on_resize(self) -> None:
        self._show()

    def action_usage(self) -> None:
        self._usage()

    def _show(self) -> None:
        if not self.is_current:
            return
        width = min(self.app.size.width, 100) - _BORDER_AND_PADDING - _SCROLLBAR
        shown = content(self._look(), width)
        if shown != self._content:
            self._content = shown
            self.query_one(Static).update(shown)
