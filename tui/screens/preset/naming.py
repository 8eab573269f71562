"""The name of a copy, checked while it is typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input

from backends.errors import Problem
from tui import keys
from tui.chat.clean import clean_line
from tui.keys.bindings import bindings
from tui.widgets.keyed import Scroll, TextLine
from tui.widgets.lines import Lines, wrapped
from tui.words import _

WIDTH = 70
_BORDER_AND_PADDING = 6


class NameScreen(ModalScreen[str | None]):
    """Asks for the name of a copy of `title`, beginning with `name`. `check` raises Problem for one that cannot be."""

    CSS_PATH = "preset.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("name")

    def __init__(self, title: str, name: str, check: Callable[[str], object]) -> None:
        super().__init__()
        self._title = title
        self._name_first = name
        self._check = check

    def compose(self) -> ComposeResult:
        with Scroll(can_focus=False) as box:
            box.border_title = Content(_("Duplicate preset: {title}").format(title=clean_line(self._title))).markup
            box.border_subtitle = keys.filled(_("{line.submit} writes it · {name.leave} leaves"))
            yield TextLine(self._name_first, max_length=64, compact=True)
            yield Lines()

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self.on_input_changed()

    def on_resize(self) -> None:
        self.on_input_changed()

    def on_input_changed(self) -> None:
        self._show(self._fault())

    def on_input_submitted(self) -> None:
        if self._fault() is None:
            self.dismiss(self.query_one(Input).value)
        else:
            self.app.bell()

    def action_leave(self) -> None:
        self.dismiss(None)

    def _fault(self) -> Problem | None:
        try:
            self._check(self.query_one(Input).value)
        except Problem as problem:
            return problem
        return None

    def _show(self, problem: Problem | None) -> None:
        text, style = (
            _("The name of its file. It has no key at first; its title and all else can be edited then."),
            "dim",
        )
        if problem is not None:
            text, style = f"✗ {problem.title}. {problem.hint}", "$text-warning"
        width = min(self.app.size.width, WIDTH) - _BORDER_AND_PADDING
        lines = [Content(""), *(Content.styled(line, style) for line in wrapped(clean_line(text), width))]
        self.query_one(Lines).show(Content("\n").join(lines))
