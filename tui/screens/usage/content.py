"""The usage view as text of a given width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from tui.chat.usage import Grouping, Usage
from tui.commands.usage_table import figures, notes
from tui.screens.usage.reading import Found, Month
from tui.units import money
from tui.words import _

GROUPINGS: dict[str, Grouping] = {"d": "day", "p": "preset", "b": "backend", "c": "chat"}
GAP = 2
LEAST_TITLE = 14
_LEFT_OUT = ("TIME", "PROMPT", "OUTPUT", "ANSWERS", "AT THE API", "PUBLISHED", "PER ANSWER")
"""What makes room in a narrow terminal, first to last."""


def head(month: Month, by: Grouping) -> Content:
    """Return the month, and by what it is grouped."""
    parts: list[str | tuple[str, str]] = [(str(month), "bold $text-accent"), "   by  "]
    for key, grouping in GROUPINGS.items():
        parts += [(f"{key} {grouping}", "bold reverse" if grouping == by else "dim"), "  "]
    return Content.assemble(*parts)


def content(found: Found, month: Month, width: int) -> Content:
    """Return a month's table with its total and what must be known about the figures."""
    if not found.used.rows:
        return Content.styled(_("There are no answers in {month}.").format(month=month), "dim")
    width = max(8, width)
    lines = [*_table(found.used, width), Content("")]
    for note in notes(found.used, found.prices, found.rates):
        for line in textwrap.wrap(note, width, break_long_words=False, break_on_hyphens=False):
            lines.append(Content.styled(line, "dim"))  # noqa: PERF401 - two loops read better so
    return Content("\n").join(lines)


def _table(used: Usage, width: int) -> Iterator[Content]:
    rows = (*used.rows, used.total)
    texts = {name: [name, *(cell(row) for row in rows)] for name, cell in figures(used, money)}
    title, *others = texts

    def room() -> int:
        return width - sum(_widest(texts[name]) + GAP for name in others)

    for name in _LEFT_OUT:
        if room() < min(LEAST_TITLE, _widest(texts[title])) and name in others:
            others.remove(name)
    first = max(1, min(room(), _widest(texts[title])))
    for place in range(len(rows) + 1):
        shown = _fitted(texts[title][place], first)
        for name in others:
            shown += " " * (GAP + _widest(texts[name]) - cell_len(texts[name][place])) + texts[name][place]
        style = "dim" if place == 0 else "bold" if place == len(rows) else ""
        yield Content.styled(shown, style)


def _widest(texts: Sequence[str]) -> int:
    return max(map(cell_len, texts))


def _fitted(text: str, cells: int) -> str:
    """Return `text` in exactly so many cells."""
    return set_cell_size(text, cells) if cell_len(text) <= cells else set_cell_size(text, cells - 1) + "…"
