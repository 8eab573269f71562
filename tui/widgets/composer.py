"""Where the question is typed: Enter sends, Ctrl+J begins a new line."""

from __future__ import annotations

from textual import events
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

    class Sent(Message):
        """The user has finished a text. The composer keeps it until it is told to `clear`."""

        def __init__(self, composer: Composer, text: str) -> None:
            super().__init__()
            self.composer = composer
            self.text = text

        @property
        def control(self) -> Composer:
            return self.composer

    class Nothing(Message):
        """Enter was pressed, and there is nothing to send."""

    class Recall(Message):
        """The user wants an earlier question back, in an empty composer."""

    class Scroll(Message):
        """A key that the text has no use for: the conversation may move. `key` is pageup, pagedown or end."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

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

    async def _on_key(self, event: events.Key) -> None:
        # Not as priority bindings: those overtake the letters typed just before, so a fast "hi⏎" would send nothing.
        match event.key:
            case "enter":
                self._taken(event)
                self.send() if self.text.strip() else self.post_message(self.Nothing())
            case "ctrl+j":
                self._taken(event)
                self.insert("\n")
            case "up" if not self.text:
                self._taken(event)
                self.post_message(self.Recall())
            case "pageup" | "pagedown" if self.max_scroll_y == 0:
                self._taken(event)
                self.post_message(self.Scroll(event.key))
            case "end" if self.cursor_location == self.document.end:
                self._taken(event)
                self.post_message(self.Scroll(event.key))
            case _:
                await super()._on_key(event)

    def send(self) -> None:
        """Send what is typed."""
        self.post_message(self.Sent(self, self.text))

    def put_back(self, text: str) -> None:
        """Have a text edited again."""
        self.load_text(text)
        self.move_cursor(self.document.end)

    def _taken(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
