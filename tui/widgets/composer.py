"""Where the question is typed: Enter sends, Ctrl+J begins a new line."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea


class Composer(TextArea):
    """A text area that grows with its text. It sends nothing that is only blank."""

    DEFAULT_CSS = """
    Composer {
        height: auto;
        min-height: 1;
        max-height: 8;
        border: none;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        background: $surface;
    }
    Composer:focus { border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", show=False, priority=True, id="composer.send"),
        Binding("ctrl+j", "newline", "New line", show=False, priority=True, id="composer.newline"),
    ]

    class Sent(Message):
        """The user has finished a text. The composer keeps it until it is told to `clear`."""

        def __init__(self, composer: Composer, text: str) -> None:
            super().__init__()
            self.composer = composer
            self.text = text

        @property
        def control(self) -> Composer:
            return self.composer

    class Recall(Message):
        """The user wants an earlier question back, in an empty composer."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(
            id=id,
            soft_wrap=True,
            tab_behavior="focus",
            compact=True,
            highlight_cursor_line=False,
            placeholder="Ask anything · Enter sends · Ctrl+J new line",
        )
        self.cursor_blink = False

    def action_send(self) -> None:
        if self.text.strip():
            self.post_message(self.Sent(self, self.text))

    def action_newline(self) -> None:
        self.insert("\n")

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "up" and not self.text:
            event.stop()
            event.prevent_default()
            self.post_message(self.Recall())
            return
        await super()._on_key(event)
