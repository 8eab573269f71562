"""The entries one below the other: where each stands, measured where it was laid out, estimated where not yet."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import msgspec

from tui.widgets.transcript.layout import EntryLayout
from tui.widgets.transcript.markdown import Formatter
from tui.widgets.transcript.model import Entry


class Place(msgspec.Struct, frozen=True):
    """A row of the transcript, told by its entry: it stays where it is when entries above change their height."""

    entry: int
    row: int


class Column:
    """All entries, their heights in rows, and which of them are laid out."""

    def __init__(self) -> None:
        self.layouts: list[EntryLayout] = []
        self.width = 0
        self._index: dict[str, int] = {}
        self._tops: list[int] = [0]
        self._laid: dict[int, EntryLayout] = {}

    def replace(self, entries: Iterable[Entry]) -> None:
        """Show other entries; nothing of them is laid out yet."""
        self.layouts = [EntryLayout(entry) for entry in entries]
        self._laid.clear()
        self._reindex()

    def change(self, entries: Iterable[Entry]) -> None:
        """Show other entries; those that stay keep their rows, and thoughts that were unfolded stay so."""
        before = {layout.entry.id: layout for layout in self.layouts}
        self.layouts = []
        for entry in entries:
            layout = before.get(entry.id)
            if layout is None:
                layout = EntryLayout(entry)
            elif layout.entry != entry:
                layout.update(entry)
            self.layouts.append(layout)
        self._laid = {id(layout): layout for layout in self.layouts if id(layout) in self._laid}
        self._reindex()

    def find(self, entry_id: str) -> int | None:
        """Return the position of an entry."""
        return self._index.get(entry_id)

    def thought(self, entry_id: str | None) -> int | None:
        """Return the position of an entry, or with None of the last one, that has a thought."""
        if entry_id is not None:
            position = self.find(entry_id)
            return position if position is not None and self.layouts[position].entry.reasoning else None
        return next((at for at in range(len(self.layouts) - 1, -1, -1) if self.layouts[at].entry.reasoning), None)

    def append(self, entry: Entry) -> int:
        """Add an entry at the end and return its position."""
        self._index[entry.id] = len(self.layouts)
        self.layouts.append(EntryLayout(entry))
        return len(self.layouts) - 1

    def invalidate(self) -> None:
        """Forget all rows: the width or the styles changed."""
        for layout in self.layouts:
            layout.invalidate()
        self._laid.clear()
        self.touch(0)

    def touch(self, position: int) -> None:
        """Take note that the height of an entry may have changed: those below it move."""
        del self._tops[position + 1 :]

    def top(self, position: int) -> int:
        """Return the first row of the entry at `position`; for the position after the last one, the end of all."""
        tops, width = self._tops, self.width
        for layout in self.layouts[len(tops) - 1 : position]:
            tops.append(tops[-1] + layout.estimate(width))
        return tops[position]

    def total(self) -> int:
        """Return the number of rows of all; the blank row after the last entry is not counted."""
        return max(0, self.top(len(self.layouts)) - 1)

    def place(self, line: int) -> Place:
        """Return what stands in row `line` of all; past either end, the nearest row."""
        if not self.layouts:
            return Place(0, 0)
        self.total()
        position = min(max(0, bisect_right(self._tops, line) - 1), len(self.layouts) - 1)
        return Place(position, max(0, line - self._tops[position]))

    def line(self, place: Place) -> int:
        """Return the row of all where `place` stands now."""
        if not self.layouts:
            return 0
        position = min(place.entry, len(self.layouts) - 1)
        return self.top(position) + min(place.row, max(0, self.layouts[position].estimate(self.width) - 1))

    def lay(self, formatter: Formatter, start: Place, above: int, below: int) -> None:
        """Lay out the entries from `above` rows over a place to `below` rows under it; drop the rows of all others."""
        near: dict[int, EntryLayout] = {}
        first = min(start.entry, len(self.layouts) - 1)
        room = below + start.row
        for position in range(first, len(self.layouts)):
            room -= self._measure(position, formatter, near)
            if room <= 0:
                break
        room = above - start.row
        for position in range(first - 1, -1, -1):
            if room <= 0:
                break
            room -= self._measure(position, formatter, near)
        for key, layout in self._laid.items():
            if key not in near:
                layout.drop()
        self._laid = near

    def _measure(self, position: int, formatter: Formatter, near: dict[int, EntryLayout]) -> int:
        layout = self.layouts[position]
        near[id(layout)] = layout
        before = layout.height
        height = len(layout.lay(formatter))
        if before != height:
            self.touch(position)
        return height

    def _reindex(self) -> None:
        self._index = {layout.entry.id: position for position, layout in enumerate(self.layouts)}
        self._tops = [0]
