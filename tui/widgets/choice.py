"""One of a few values, on one line: ← and → go through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widget import Widget

from tui.chat.clean import clean_line
from tui.keys.bindings import bindings


class Choice(Widget, can_focus=True):
    """Shows one of `choices`, which are values and how they read. A `value` that is none of them is shown as it is."""

    DEFAULT_CSS = """
    Choice { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    Choice:focus { background: $boost; text-style: bold; }
    App:nocolor Choice:focus { text-style: underline; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings("choice")

    class Changed(Message):
        """Another value was chosen."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

        @property
        def control(self) -> Choice:
            return self.choice

    def __init__(self, choices: Sequence[tuple[str, str]], value: str) -> None:
        super().__init__()
        self._choices = list(choices)
        if value not in dict(self._choices):
            self._choices.append((value, value))
        self.value = value

    def action_turn(self, step: int) -> None:
        values = [value for value, _ in self._choices]
        if len(values) < 2:
            self.app.bell()
            return
        self.value = values[(values.index(self.value) + step) % len(values)]
        self.refresh()
        self.post_message(self.Changed(self))

    def on_click(self, _event: Click) -> None:
        self.action_turn(1)

    def render(self) -> Content:
        return Content(f"‹ {clean_line(dict(self._choices)[self.value])} ›")
