"""Plain tables for a terminal: columns as wide as their text, fitted to the window, whole where piped."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterator, Sequence

from tui.chat.clean import clean_line
from tui.commands.output import is_terminal

GAP = 2
NARROWEST = 6
READABLE = 12


def width() -> int | None:
    """Return the columns that a line of stdout may have, None where it is no terminal."""
    return shutil.get_terminal_size().columns if is_terminal(1) else None


def cells(text: str) -> int:
    """Return how many columns `text` takes: wide characters two, marks none (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def fitted(text: str, columns: int) -> str:
    """Return `text` cut to `columns`, with an ellipsis where something is missing."""
    if cells(text) <= columns:
        return text
    kept, used = [], 0
    for character in text:
        used += _cells(character)
        if used > columns - 1:
            break
        kept.append(character)
    return "".join(kept) + "…" if columns > 0 else ""


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None = None, spare: Sequence[int] = ()
) -> Iterator[str]:
    """Yield the lines of a table, made harmless; with `columns` each of them fits.

    Columns whose index is in `spare` give their room first, in that order, and are left out if nothing readable would
    remain of them; then the widest of the others are cut.
    """
    clean_rows = [[clean_line(text) for text in row] for row in (head, *rows)]
    widths = [max(cells(row[index]) for row in clean_rows) for index in range(len(head))]
    if columns is not None:
        _fit(widths, columns, spare)
    for row in clean_rows:
        parts = []
        for text, wide in zip(row, widths, strict=True):
            if wide:
                shown = fitted(text, wide)
                parts.append(shown + " " * (wide - cells(shown)))
        yield (" " * GAP).join(parts).rstrip()


def _fit(widths: list[int], columns: int, spare: Sequence[int]) -> None:
    """Narrow the columns until a line fits; width 0 leaves one out."""

    def too_wide() -> int:
        return sum(widths) + GAP * (sum(wide > 0 for wide in widths) - 1) - columns

    for index in spare:
        if too_wide() > 0:
            rest = widths[index] - too_wide()
            widths[index] = rest if rest >= READABLE else 0
    while too_wide() > 0 and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1


def _cells(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def seconds(amount: float | None) -> str:
    """Return a duration as people read it, a dash where unknown."""
    if amount is None:
        return "–"
    if amount < 60:
        return f"{amount:.0f} s"
    minutes = round(amount / 60)
    return f"{minutes} min" if minutes < 120 else f"{amount / 3600:.0f} h"
