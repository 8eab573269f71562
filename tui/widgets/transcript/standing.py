"""Which message the reader stands on: always one that is in view, or none. And the words that were found in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tui.widgets.transcript.column import Column, Place

Marks = Callable[[str], Sequence[tuple[int, int]]]
"""Where in a line the words are that were looked for, from and until."""


class Standing:
    """`entry` is the message of `column` that the reader stands on, by its id. `marks` find words in `marked`."""

    def __init__(self, column: Column) -> None:
        self.entry: str | None = None
        self.marks: Marks | None = None
        self.marked = ""
        self._column = column

    @property
    def position(self) -> int | None:
        """Where that message is; None if there is none."""
        return self._column.find(self.entry) if self.entry is not None else None

    def stand_on(self, position: int | None) -> list[int]:
        """Stand on another message; return the positions whose mark comes or goes."""
        before = self.position
        self.entry = self._column.layouts[position].entry.id if position is not None else None
        return [one for one in (before, position) if one is not None] if before != position else []

    def keep_in(self, y: int, rows: int, *, at_end: bool) -> list[int]:
        """Stand on what is in view, the `rows` from `y` on: where the reader stands, or the nearest.

        `at_end` prefers the last message where there was none. Returns the positions whose mark comes or goes.
        """
        first, last = self._column.place(y).entry, self._column.place(y + max(0, rows - 1)).entry
        at = self.position
        if at is not None and first <= at <= last and self._can_stand(at):
            return []
        below = at > last if at is not None else at_end
        return self.stand_on(self._first_of(range(last, first - 1, -1) if below else range(first, last + 1)))

    def beside(self, step: int) -> int | None:
        """Return where the next message in a direction is, None if there is none."""
        at = self.position
        if at is None:
            return None
        return self._first_of(range(at + step, len(self._column.layouts) if step > 0 else -1, step))

    def mark(self, entry: str, marks: Marks, *, thought: bool) -> int | None:
        """Have found words marked in an entry, whose thought is unfolded if they are there; return its position."""
        position = self._column.find(entry)
        if position is not None:
            self.marks, self.marked = marks, entry
            layout = self._column.layouts[position]
            if thought and not layout.unfolded and layout.entry.reasoning:
                layout.toggle()
                self._column.touch(position)
        return position

    def forget(self) -> bool:
        """Have nothing marked any more; say whether anything was."""
        before, self.marks, self.marked = self.marks, None, ""
        return before is not None

    def found_line(self, position: int, rows: int) -> int:
        """Return the row of all to have at the top, so that the entry's found words are among the next `rows`."""
        layout = self._column.layouts[position]
        head = (layout.thought_row or 0) + 1
        laid, marks = layout.rows or [], self.marks or (lambda _line: ())
        row = next((number for number in range(head, len(laid)) if marks(laid[number].strip.text)), 0)
        return self._column.top(position) + (0 if row < rows else row - rows // 3)

    def is_marked(self, place: Place) -> bool:
        """Say whether a row is of the message that the reader stands on. The blank one after it is not."""
        if place.entry != self.position:
            return False
        return place.row < len(self._column.layouts[place.entry].rows or ()) - 1

    def _can_stand(self, position: int) -> bool:
        return 0 <= position < len(self._column.layouts) and self._column.layouts[position].entry.role != "notice"

    def _first_of(self, positions: Iterable[int]) -> int | None:
        return next((position for position in positions if self._can_stand(position)), None)
