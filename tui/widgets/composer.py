"""Where the question is typed: Enter sends, Ctrl+J begins a new line."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from textual import events
from textual.binding import BindingType
from textual.document._document import EditResult
from textual.document._edit import Edit
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widgets import TextArea
from textual.widgets.text_area import TextAreaTheme

from tui.chat.clean import clean
from tui.keys import pressed
from tui.keys.bindings import bindings
from tui.keys.words import every
from tui.words import _

Deed = Literal["send", "nothing", "older", "newer", "scroll", "complete", "editor"]
"""What is done here beside writing: "older" and "newer" ask for another text of before in its place, "scroll" is a key
that the text has no use for, "complete" takes what is offered, "editor" opens one."""


class Composer(TextArea):
    """A text area that grows with its text. It sends nothing that is only blank.

    `changed` is called after each change of text or cursor, `left` when it goes. `offering` says that Tab takes
    something.
    """

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

    BINDINGS: ClassVar[list[BindingType]] = bindings("composer")

    class Did(Message):
        """The user did something. `text` is what is sent, or where to scroll: pageup, pagedown or end."""

        def __init__(self, composer: Composer, what: Deed, text: str = "") -> None:
            super().__init__()
            self.composer = composer
            self.what = what
            self.text = text

        @property
        def control(self) -> Composer:
            return self.composer

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(
            id=id,
            soft_wrap=True,
            tab_behavior="focus",
            compact=True,
            highlight_cursor_line=False,
            placeholder=_("Ask anything · {send} sends · {newline} new line").format(
                send=every("composer.send"), newline=every("composer.newline")
            ),
        )
        self.cursor_blink = False
        self._styled: TextAreaTheme | None = None
        self.offering = False
        self._walked_to: tuple[int, int] | None = None
        self.changed: Callable[[], None] = lambda: None
        self.left: Callable[[], None] = lambda: None

    def notify_style_update(self) -> None:
        self._styled = None
        super().notify_style_update()

    def render_lines(self, crop: Region) -> list[Strip]:
        if self.has_focus:  # It may have been moved, and an input method composes where the terminal's cursor is.
            self.app.cursor_position = self.cursor_screen_offset
        # Textual's own reads all styles anew for each key: half of what a key costs.
        if self._styled is not self._theme or self._theme is None:
            self._styled = self._theme
            return super().render_lines(crop)
        return super(TextArea, self).render_lines(crop)

    async def _on_key(self, event: events.Key) -> None:
        # Not as priority bindings: those overtake the letters typed just before, so a fast "hi⏎" would send nothing.
        deed = self._deed(event.key)
        if deed is None:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()
        match deed:
            case "send":
                self.send()
            case "newline":
                self.insert("\n")
            case "scroll":
                self._did("scroll", self._way(event.key))
            case _:
                self._did(deed)

    def _deed(self, key: str) -> Deed | Literal["newline"] | None:
        """Return what a key does here, None where it only writes or moves the cursor."""
        walking = self._walked_to == self.cursor_location
        if pressed("composer.send", key):
            return "send"
        if pressed("composer.newline", key):
            return "newline"
        if pressed("composer.complete", key):
            self.changed()  # It may overtake what is offered for the letter just before.
            return "complete" if self.offering else None
        if pressed("composer.older", key) and (walking or self._on_first_row):
            return "older"
        if pressed("composer.newer", key) and (walking or self._on_last_row):
            return "newer"
        page = pressed("composer.page_up", key) or pressed("composer.page_down", key)
        if page and self.max_scroll_y == 0:
            return "scroll"
        if pressed("composer.end", key) and self.cursor_location == self.document.end:
            return "scroll"
        return None

    def _way(self, key: str) -> str:
        """Return where the conversation moves by a key: pageup, pagedown or end."""
        if pressed("composer.page_up", key):
            return "pageup"
        return "pagedown" if pressed("composer.page_down", key) else "end"

    def action_edit_outside(self) -> None:
        self._did("editor")

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()  # Or Textual pastes once more.
        event.text = clean(event.text.replace("\r\n", "\n").replace("\r", "\n"))
        await super()._on_paste(event)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self.changed()

    def on_text_area_selection_changed(self, event: TextArea.SelectionChanged) -> None:
        event.stop()
        self.changed()

    def on_unmount(self) -> None:
        self.left()

    def send(self) -> None:
        """Hand over what is typed, and be free for what is typed next."""
        text = self.text
        if text.strip():
            self.load_text("")
            self._did("send", text)
        else:
            self._did("nothing")

    def give_back(self, text: str) -> None:
        """Put a text that was not sent before what has been typed since."""
        since = self.text
        self.put(f"{text}\n{since}" if since else text)

    def put(self, text: str, cursor: tuple[int, int] | None = None) -> None:
        """Have a text edited in the place of what is there, from `cursor` on, or from its end."""
        self.load_text(clean(text))
        self.move_cursor(self.document.end if cursor is None else self.clamp_visitable(cursor))
        self._walked_to = None

    def walk_to(self, text: str) -> None:
        """Have a text in the place of what is there; as long as it stays so, ↑ and ↓ walk on wherever they stand."""
        self.put(text)
        self._walked_to = self.cursor_location

    def edit(self, edit: Edit) -> EditResult:
        self._walked_to = None
        return super().edit(edit)

    @property
    def _on_first_row(self) -> bool:
        return self.selection.is_empty and self.wrapped_document.location_to_offset(self.cursor_location).y == 0

    @property
    def _on_last_row(self) -> bool:
        row = self.wrapped_document.location_to_offset(self.cursor_location).y
        return self.selection.is_empty and row == self.wrapped_document.height - 1

    def _did(self, what: Deed, text: str = "") -> None:
        self.post_message(self.Did(self, what, text))
