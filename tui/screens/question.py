"""A question that stands above the chat: what would be done, and Enter for yes."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui import keys
from tui.chat.clean import clean_line
from tui.keys.bindings import bindings
from tui.widgets.keyed import Scroll
from tui.words import _


class QuestionScreen(ModalScreen[bool]):
    """Asks `title`, explained by `lines`. Ends with True for Enter or y; Esc and n change nothing."""

    CSS_PATH = "question.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("question")

    def __init__(self, title: str, lines: tuple[str, ...], yes: str) -> None:
        super().__init__()
        self._title = clean_line(title)
        self._lines = tuple(clean_line(line) for line in lines)
        self._yes = yes

    def compose(self) -> ComposeResult:
        with Scroll() as box:
            box.border_title = Content(self._title).markup
            box.border_subtitle = keys.filled(_("{question.yes}: {what} · {question.no}: no"), what=self._yes)
            yield Static(Content("\n\n").join([Content(line) for line in self._lines]))

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
