"""The view that explains every figure, as long as it is open at what is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from tui import keys
from tui.keys.bindings import bindings
from tui.screens.figures.content import View, content
from tui.widgets.keyed import Scroll
from tui.widgets.lines import Lines
from tui.words import _

REFRESH_S = 1.0
RESTING_EVERY = 5
"""While nothing happens, so many looks are shown as one."""
SETTLING = 3
"""So many looks at rest are each shown still: the driver's last word comes a moment later."""
_BORDER_AND_PADDING = 4
_SCROLLBAR = 1


class FiguresScreen(ModalScreen[None]):
    """Every figure. `look` returns what there is to see now; `usage` opens the usage over time."""

    CSS_PATH = "figures.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("figures")

    def __init__(self, look: Callable[[], View], usage: Callable[[], None]) -> None:
        super().__init__()
        self._look = look
        self._usage = usage
        self._at_rest = 0

    def compose(self) -> ComposeResult:
        with Scroll() as box:
            box.border_title = _("Every figure explained")
            box.border_subtitle = keys.filled(
                _("{figures.close} closes · {scroll.up} {scroll.down} scroll · {figures.usage}: usage over time")
            )
            yield Lines()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self._show(self._look())
        self.set_interval(REFRESH_S, self._look_again)

    def on_resize(self) -> None:
        self._show(self._look())

    def action_usage(self) -> None:
        self._usage()

    def on_screen_resume(self) -> None:
        self._show(self._look())

    def _look_again(self) -> None:
        """Look, under another screen too: what is read now is what the last minutes show later."""
        view = self._look()
        self._at_rest = self._at_rest + 1 if view.resting else 0
        if self._at_rest <= SETTLING or self._at_rest % RESTING_EVERY == 0:
            self._show(view)

    def _show(self, view: View) -> None:
        if self.is_active:
            width = min(self.app.size.width, 100) - _BORDER_AND_PADDING - _SCROLLBAR
            self.query_one(Lines).show(content(view, width))
