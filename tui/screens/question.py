"""A question that stands above the chat: what would be done, and Enter for yes."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.chat.clean import clean_line


class QuestionScreen(ModalScreen[bool]):
    """Asks `title`, explained by `lines`. Ends with True for Enter or y; Esc and n change nothing."""

    CSS_PATH = "question.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "answer(True)", "Yes", show=False, id="question.yes", priority=True),
        Binding("escape,ctrl+c,n,q", "answer(False)", "No", show=False, id="question.no", priority=True),
    ]

    def __init__(self, title: str, lines: tuple[str, ...], yes: str) -> None:
        super().__init__()
        self._title = clean_line(title)
        self._lines = tuple(clean_line(line) for line in lines)
        self._yes = yes

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = Content(self._title).markup
            box.border_subtitle = f"Enter: {self._yes} · Esc: no"
            yield Static(Content("\n\n").join([Content(line) for line in self._lines]))

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
