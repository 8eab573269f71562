"""What a row looks like on the screen, and which cells have to be sent to the terminal again."""

from __future__ import annotations

from typing import Final

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip

from tui.widgets.transcript.column import Column, Place
from tui.widgets.transcript.palette import Palette
from tui.widgets.transcript.rows import MARGIN, Row, changed_cells
from tui.widgets.transcript.selecting import highlighted
from tui.widgets.transcript.standing import Standing

MARK: Final = "▎"


def strip_of(column: Column, place: Place, standing: Standing, palette: Palette | None) -> Strip:
    """Return a row as it is laid out, with the words in it that were looked for."""
    if place.entry >= len(column.layouts):
        return Strip([])
    layout = column.layouts[place.entry]
    rows = layout.rows or []
    strip = rows[place.row].strip if place.row < len(rows) else Strip([])
    head = layout.thought_row or 0
    if standing.marks is not None and palette is not None and place.row > head and layout.entry.id == standing.marked:
        for low, high in standing.marks(strip.text):
            strip = highlighted(strip, (low + MARGIN, high + MARGIN), palette.found)
    return strip


def margin_of(place: Place, standing: Standing, base: Style, palette: Palette | None) -> Segment | None:
    """Return the mark at the left edge of a row of the message that the reader stands on; None for any other."""
    if palette is None or not standing.is_marked(place):
        return None
    return Segment(MARK, base + palette.stand)


def margin_region(column: Column, position: int, y: int, rows: int) -> Region | None:
    """Return the cells at the left edge of an entry, where `rows` from `y` on are in view; None if none are."""
    low, high = max(0, column.top(position) - y), min(column.top(position + 1) - y, rows)
    return Region(0, low, MARGIN, high - low) if low < high else None


def changed_regions(
    column: Column, position: int, old: list[Row] | None, y: int, rows: int, *, margin: bool
) -> list[Region] | None:
    """Return the cells of an entry in view that are not what they were, with its `margin`; None for the whole view."""
    new = column.layouts[position].rows
    shifted = position < len(column.layouts) - 1 and (old is None or new is None or len(old) != len(new))
    if shifted or (old is None and new is None):
        return None
    before, after = old or [], new or []
    offset = column.top(position) - y
    regions = []
    for number in range(max(0, -offset), min(max(len(before), len(after)), rows - offset)):
        was = before[number].strip if number < len(before) else Strip([])
        now = after[number].strip if number < len(after) else Strip([])
        if cells := changed_cells(was, now):
            left = 0 if margin else MARGIN + cells[0]
            regions.append(Region(left, offset + number, MARGIN + cells[1] - left, 1))
        elif margin and number >= min(len(before), len(after)) - 1:  # The blank row at the end has no mark.
            regions.append(Region(0, offset + number, MARGIN, 1))
    return regions
