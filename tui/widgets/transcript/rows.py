"""Rows: what a line of the screen shows, and what a copy of several of them reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.widgets.transcript.wrap import Piece, wrap


class Row(msgspec.Struct, frozen=True):
    """One line of the transcript.

    `joint` is what a copied text has between the row before and this one; where that is no newline, the copy leaves
    out the first `indent` characters, which only draw a margin.
    """

    strip: Strip
    joint: str = "\n"
    indent: int = 0


Spans = Sequence[tuple[str, Style | None]]
"""One line of styled text."""

MARGIN: Final = 1
"""Cells between the left edge and the text."""

BLANK = Row(Strip([]))


def row(text: str, style: Style | None = None, joint: str = "\n") -> Row:
    """Make a row of one style."""
    return Row(Strip([Segment(text, style)]), joint)


def prefixed(prefix: str, style: Style | None, body: Row) -> Row:
    """Return the row with a margin before it."""
    return Row(Strip([Segment(prefix, style), *body.strip]), body.joint, body.indent + len(prefix))


def styled_rows(line: Spans, width: int) -> list[Row]:
    """Wrap one styled line on words."""
    return slice_spans(line, wrap("".join(text for text, _ in line), width))


def slice_spans(line: Spans, pieces: Iterable[Piece]) -> list[Row]:
    """Lay the styles of `line` over the pieces that its plain text was cut into."""
    rows: list[Row] = []
    position = 0
    for number, (shown, joint) in enumerate(pieces):
        start = position + len(joint)
        position = start + len(shown)
        segments = [Segment(text, style) for text, style in _between(line, start, position)]
        rows.append(Row(Strip(segments), joint if number else "\n"))
    return rows


def framed(strip: Strip, base: Style, width: int, margin: Segment | None = None) -> Strip:
    """Return the strip as the screen gets it: on the base style, after the margin, filled up to `width` cells.

    Blanks take the style of their neighbour where that does not show: each change of style is 40 bytes to a terminal.
    """
    styled = strip.apply_style(base)
    segments = [margin or Segment(" " * MARGIN, base), *styled]
    last = segments[-1].style or base
    fill = width - MARGIN - styled.cell_length
    if fill > 0:
        visible = last.underline or last.strike or last.reverse or last.bgcolor != base.bgcolor
        segments.append(Segment(" " * fill, base if visible else last))
    return Strip(segments).simplify().adjust_cell_length(width, base)


def copied(rows: Sequence[Row], start: int = 0, end: int | None = None) -> str:
    """Return the text of rows, the first from character `start`, the last to character `end`, without soft breaks."""
    parts: list[str] = []
    for number, shown in enumerate(rows):
        text = shown.strip.text[: end if number == len(rows) - 1 else None]
        if number:
            parts.append(shown.joint)
            text = text[shown.indent if shown.joint != "\n" else 0 :]
        else:
            text = text[start:]
        parts.append(text)
    return "".join(parts)


def changed_cells(old: Strip, new: Strip) -> tuple[int, int] | None:
    """Return the first and the end column of what differs between two strips, or None where nothing does."""
    if old is new or old == new:
        return None
    column = 0
    for before, after in zip(old, new, strict=False):
        if before == after:
            column += cell_len(before.text)
            continue
        if before.style == after.style:
            same = _common_prefix(before.text, after.text)
            # A joined or combining character changes the one before it: step back over what it may reach.
            column += cell_len(after.text[: max(0, same - 8)]) if not after.text.isascii() else same
        break
    return column, max(old.cell_length, new.cell_length)


def _between(line: Spans, start: int, end: int) -> Iterable[tuple[str, Style | None]]:
    position = 0
    for text, style in line:
        part = text[max(0, start - position) : max(0, end - position)]
        if part:
            yield part, style
        position += len(text)
        if position >= end:
            break


def _common_prefix(one: str, other: str) -> int:
    end = min(len(one), len(other))
    if one[:end] == other[:end]:
        return end
    return next(index for index in range(end) if one[index] != other[index])
