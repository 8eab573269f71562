"""Tables laid out: columns as wide as what is in them, or as there is room for, and cells wrapped in theirs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.widgets.transcript.inline import Line, styled
from tui.widgets.transcript.palette import Palette
from tui.widgets.transcript.rows import Row, row, styled_rows

if TYPE_CHECKING:
    from markdown_it.token import Token

Cell = list[Line]

_NARROWEST: Final = 6  # cells that a column needs; narrower, the source reads better
_GAP: Final = "   "
_BOLD: Final = Style(bold=True)


class Table(msgspec.Struct, frozen=True):
    """The cells, row by row, the header first; `right` says which columns are flush right."""

    rows: tuple[tuple[Cell, ...], ...]
    right: tuple[bool, ...]


def table_of(tokens: Sequence[Token], palette: Palette) -> Table | None:
    """Return the table that the parser has found, None if it has found something else, or more."""
    if not tokens or tokens[0].type != "table_open" or tokens[-1].type != "table_close":
        return None
    rows: list[list[Cell]] = []
    right: list[bool] = []
    for token, content in zip(tokens, islice(tokens, 1, None), strict=False):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in {"th_open", "td_open"}:
            rows[-1].append(styled(content.children or [], palette, _BOLD if token.type == "th_open" else None))
            if token.type == "th_open":
                right.append(str(token.attrGet("style") or "").endswith("right"))
    return Table(tuple(tuple(cells) for cells in rows), tuple(right)) if right else None


def table_rows(table: Table, width: int, palette: Palette) -> list[Row] | None:
    """Return the rows of a table, None where its columns have no room."""
    columns = len(table.right)
    if width < _NARROWEST * columns:
        return None
    widths = _fitted(
        [max(_width(cells[at]) for cells in table.rows if at < len(cells)) for at in range(columns)],
        width - len(_GAP) * (columns - 1),
    )
    laid = [line for cells in table.rows[:1] for line in _lines(cells, widths, table.right)]
    laid.append(row("─" * (sum(widths) + len(_GAP) * (columns - 1)), palette.mark))
    return laid + [line for cells in table.rows[1:] for line in _lines(cells, widths, table.right)]


def _width(cell: Cell) -> int:
    return max(cell_len("".join(text for text, _ in line)) for line in cell)


def _fitted(wanted: Sequence[int], room: int) -> list[int]:
    """Return the widths, of which the widest give what there is no room for."""
    widths = [max(1, each) for each in wanted]
    room = max(room, len(widths))
    while (excess := sum(widths) - room) > 0:
        widest = max(widths)
        most = [at for at, each in enumerate(widths) if each == widest]
        next_widest = max((each for each in widths if each < widest), default=1)
        step = min(widest - next_widest, -(-excess // len(most)))
        for at in most:
            widths[at] -= min(max(step, 1), sum(widths) - room)
    return widths


def _lines(cells: Sequence[Cell], widths: Sequence[int], right: Sequence[bool]) -> list[Row]:
    """Return the lines of one row, as many as its highest cell has."""
    columns = [
        [laid.strip for line in cell for laid in styled_rows(line, width)]
        for cell, width in zip(cells, widths, strict=False)
    ]
    return [_line(columns, at, widths, right) for at in range(max(map(len, columns)))]


def _line(columns: Sequence[Sequence[Strip]], at: int, widths: Sequence[int], right: Sequence[bool]) -> Row:
    segments: list[Segment] = []
    space = ""
    for strips, width, flush_right in zip(columns, widths, right, strict=False):
        strip = strips[at] if at < len(strips) else Strip([])
        fill = " " * (width - strip.cell_length)
        if (before := space + (fill if flush_right else "")) and strip.cell_length:
            segments.append(Segment(before))
            before = ""
        segments += list(strip)
        space = before + ("" if flush_right and strip.cell_length else fill if not flush_right else "") + _GAP
    return Row(Strip(segments))
