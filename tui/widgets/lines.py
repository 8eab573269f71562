"""The one-line widgets around the conversation: title, progress, status and keys. Each shows plain text."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget


class Line(Widget):
    """One line of text that repaints only when its text changes, and never moves its neighbours."""

    DEFAULT_CSS = """
    Line { height: 1; width: 1fr; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._content = Content("")

    def say(self, text: str | Content) -> None:
        """Show `text`. It may be hostile only if it was cleaned."""
        content = Content(text) if isinstance(text, str) else text
        if content != self._content:
            self._content = content
            self.refresh()

    @property
    def text(self) -> str:
        return self._content.plain

    def render(self) -> Content:
        return self._content


def edges(left: str, middle: str, right: str, width: int) -> str:
    """Return a line with texts at its left, middle and right; the middle is shortened first."""
    room = width - len(left) - len(right) - 4
    if len(middle) > room:
        middle = middle[: max(0, room - 1)] + "…" if room > 1 else ""
    start = max(len(left) + 2, (width - len(middle)) // 2)
    start = min(start, width - len(right) - len(middle) - 2)
    return (left.ljust(max(start, 0)) + middle).ljust(width - len(right)) + right
