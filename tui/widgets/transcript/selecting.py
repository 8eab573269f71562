"""What the reader marks with the mouse: how it looks, and what a copy of it reads."""

from __future__ import annotations

from rich.cells import cell_len
from rich.style import Style
from textual.selection import Selection
from textual.strip import Strip

from tui.chat.clean import clean
from tui.widgets.transcript.column import Column
from tui.widgets.transcript.markdown import Formatter
from tui.widgets.transcript.model import Entry
from tui.widgets.transcript.rows import MARGIN, copied


def highlighted(strip: Strip, span: tuple[int, int], style: Style) -> Strip:
    """Return the strip with the selection's style on `span`: characters of its line on the screen, -1 its end.

    The line on the screen is longer: it is filled up with blanks.
    """
    text = strip.text
    start = cell_len(text[: max(0, span[0] - MARGIN)])
    end = cell_len(text) if span[1] == -1 else cell_len(text[: max(0, span[1] - MARGIN)])
    if start >= end:
        return strip
    marked = Strip.join([strip.crop(start, end)])
    over = [type(segment)(segment.text, (segment.style or Style()) + style) for segment in marked]
    return Strip.join([strip.crop(0, start), Strip(over), strip.crop(end)])


def selected_text(column: Column, formatter: Formatter, selection: Selection) -> str:
    """Return the text of a selection whose offsets are characters of the screen's lines in rows of all.

    Soft breaks are left out. Of an entry that lies within the selection and far from the view, it is the source.
    """
    last = max(0, column.total() - 1)
    start, end = selection.start, selection.end
    first_line, first_at = (start.y, max(0, start.x - MARGIN)) if start is not None else (0, 0)
    last_line, last_at = (end.y, max(0, end.x - MARGIN)) if end is not None else (last, None)
    if not column.layouts or first_line > last:
        return ""
    first, final = column.place(first_line), column.place(min(last_line, last))
    parts: list[str] = []
    for position in range(first.entry, final.entry + 1):
        layout = column.layouts[position]
        cut = position in {first.entry, final.entry} and not (start is None and end is None)
        if layout.rows is None and not cut:
            parts.append(_source(layout.entry))
            continue
        rows = layout.lay(formatter)
        begin = first.row if position == first.entry else 0
        until = final.row + 1 if position == final.entry else len(rows) - 1
        at_end = last_at if position == final.entry and last_line <= last else None
        parts.append(copied(rows[begin:until], first_at if position == first.entry else 0, at_end))
    return "\n\n".join(parts)


def _source(entry: Entry) -> str:
    return "\n".join(clean(part) for part in (entry.title, entry.text) if part)
