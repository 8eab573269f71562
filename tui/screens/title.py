"""The title of a chat, in one line."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui import keys
from tui.chat.clean import clean_line
from tui.keys.bindings import bindings
from tui.widgets.keyed import TextLine
from tui.words import _


class TitleScreen(ModalScreen[str | None]):
    """Asks for the title of a chat, beginning with the one it has. Ends with None if it is to stay."""

    CSS = """
    TitleScreen { align: center middle; }
    TitleScreen > Vertical {
        width: 76; max-width: 100%; height: auto; border: round $primary; padding: 1 2; background: $surface;
    }
    TitleScreen Static { color: $text-muted; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings("title")

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title_now = clean_line(title)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = _("Rename chat")
            box.border_subtitle = keys.filled(_("{line.submit} names it · {title.leave} leaves"))
            yield TextLine(self._title_now, compact=True)
            yield Static(Content(_("Without a title it has the first line of its first question.")))

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)
