"""Text in lines: the one-line widgets around the conversation, and a body of which only what changes is painted."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget


class Line(Widget):
    """One line of text that repaints only when its text changes, and never moves its neighbours."""

    DEFAULT_CSS = """
    Line { height: 1; width: 1fr; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._content = Content("")
        self._right: tuple[str, ...] = ()

    def say(self, text: str | Content, right: Sequence[str] = ()) -> None:
        """Show `text`, and at its right what `right` says in ever shorter forms: the longest for which there is room.

        They may be hostile only if they were cleaned.
        """
        content = Content(text) if isinstance(text, str) else text
        if content != self._content or tuple(right) != self._right:
            self._content, self._right = content, tuple(right)
            self.refresh()

    @property
    def text(self) -> str:
        return self.render().plain

    def render(self) -> Content:
        if not self._right:
            return self._content
        return Content(beside(self._content.plain, self._right, self.size.width))


class Lines(Widget):
    """Text of which only the lines that differ are painted again, each of one row."""

    DEFAULT_CSS = """
    Lines { height: auto; text-wrap: nowrap; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Content] = []

    def show(self, shown: Content) -> None:
        """Show `shown` in place of what there was."""
        before, self._lines = self._lines, shown.split("\n", allow_blank=True)
        if len(before) != len(self._lines):
            self.refresh(layout=True)
            return
        pairs = enumerate(zip(before, self._lines, strict=True))
        changed = [Region(0, y, self.size.width, 1) for y, (old, new) in pairs if not old.is_same(new)]
        if changed:
            self.refresh(*changed)

    def render(self) -> Content:
        return Content("\n").join(self._lines)


def beside(text: str, forms: Sequence[str], room: int) -> str:
    """Return a line with a text at its left, and at its right the longest of `forms` that there is room for.

    The shortest form is always there: the text is cut for it.
    """
    if not forms or room <= 0:
        return text
    gap = 2 if text else 0
    form = next((form for form in forms if cell_len(text) + gap + cell_len(form) <= room), forms[-1])
    left = max(0, room - cell_len(form) - gap)
    if cell_len(text) > left:
        text = f"{set_cell_size(text, left - 1)}…" if left > 1 else ""
    return text + " " * max(0, room - cell_len(text) - cell_len(form)) + form


def wrapped(text: str, width: int) -> list[str]:
    """Return `text` in lines of at most `width` cells, one at least."""
    return [line.plain.rstrip() for line in Content(text).wrap(width)] or [""]


def room(left: str, right: str, width: int) -> int:
    """Return how many cells there are for the middle of `edges`."""
    return width - cell_len(left) - cell_len(right) - 4


def edges(left: str, middle: str, right: str, width: int) -> str:
    """Return a line with texts at its left, middle and right; the middle is shortened first."""
    most = room(left, right, width)
    if cell_len(middle) > most:
        middle = set_cell_size(middle, most - 1).rstrip() + "…" if most > 1 else ""
    start = max(cell_len(left) + 2, (width - cell_len(middle)) // 2)
    start = min(start, width - cell_len(right) - cell_len(middle) - 2)
    line = left + " " * max(0, start - cell_len(left)) + middle
    return line + " " * max(0, width - cell_len(right) - cell_len(line)) + right
