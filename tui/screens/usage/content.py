"""The usage view as text of a given width."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from tui.chat import amounts
from tui.chat.clean import clean_line
from tui.chat.receipts import NANO
from tui.chat.usage import Grouping, Row, Usage
from tui.commands.usage_table import energy_of, notes
from tui.screens.usage.reading import Found, Month
from tui.units import DASH, duration, money

GROUPINGS: dict[str, Grouping] = {"d": "day", "p": "preset", "b": "backend", "c": "chat"}
GAP = 2
LEAST_TITLE = 14
_LEFT_OUT = ("TIME", "PROMPT", "OUTPUT", "ANSWERS", "AT THE API", "PUBLISHED", "PER ANSWER")
"""What makes room in a narrow terminal, first to last."""

Columns = list[tuple[str, Callable[[Row], str]]]


def head(month: Month, by: Grouping) -> Content:
    """Return the month, and by what it is grouped."""
    parts: list[str | tuple[str, str]] = [(str(month), "bold $text-accent"), "   by  "]
    for key, grouping in GROUPINGS.items():
        parts += [(f"{key} {grouping}", "bold reverse" if grouping == by else "dim"), "  "]
    return Content.assemble(*parts)


def content(found: Found, month: Month, width: int) -> Content:
    """Return a month's table with its total and what must be known about the figures."""
    if not found.used.rows:
        return Content.styled(f"There are no answers in {month}.", "dim")
    width = max(8, width)
    lines = [*_table(found.used, width), Content("")]
    for note in notes(found.used, found.prices, found.rates):
        for line in textwrap.wrap(note, width, break_long_words=False, break_on_hyphens=False):
            lines.append(Content.styled(line, "dim"))  # noqa: PERF401 - two loops read better so
    return Content("\n").join(lines)


def _table(used: Usage, width: int) -> Iterator[Content]:
    columns = _columns(used)
    rows = (*used.rows, used.total)
    texts = {name: [name, *(clean_line(cell(row)) for row in rows)] for name, cell in columns}
    title, *figures = texts

    def room() -> int:
        return width - sum(_widest(texts[name]) + GAP for name in figures)

    for name in _LEFT_OUT:
        if room() < min(LEAST_TITLE, _widest(texts[title])) and name in figures:
            figures.remove(name)
    first = max(1, min(room(), _widest(texts[title])))
    for place in range(len(rows) + 1):
        shown = _fitted(texts[title][place], first)
        for name in figures:
            shown += " " * (GAP + _widest(texts[name]) - cell_len(texts[name][place])) + texts[name][place]
        style = "dim" if place == 0 else "bold" if place == len(rows) else ""
        yield Content.styled(shown, style)


def _columns(used: Usage) -> Columns:
    columns: Columns = [
        (used.by.upper(), lambda row: row.title),
        ("ANSWERS", lambda row: f"{row.answers:,}"),
        ("PROMPT", lambda row: amounts.tokens(row.prompt_tokens)),
        ("OUTPUT", lambda row: amounts.tokens(row.output_tokens)),
        ("TIME", lambda row: DASH if row.seconds is None else duration(row.seconds)),
        ("ENERGY", energy_of),
        ("COST", lambda row: _money(row.money, row.guessed)),
        ("AT THE API", lambda row: _money(row.api)),
    ]
    if used.by == "preset":
        # Each currency is that of other answers: they are no sum.
        columns.append(("PER ANSWER", lambda row: _money(row.per_answer, row.guessed, " / ")))
    if any(row.published_usd for row in used.rows):
        columns.append(("PUBLISHED", lambda row: DASH if not row.published_usd else money(row.published_usd, "USD")))
    return columns


def _money(nano: Mapping[str, float], guessed: Collection[str] = (), between: str = " + ") -> str:
    sums = [("~" if name in guessed else "") + money(nano[name] / NANO, name) for name in sorted(nano)]
    return between.join(sums) or DASH


def _widest(texts: Sequence[str]) -> int:
    return max(map(cell_len, texts))


def _fitted(text: str, cells: int) -> str:
    """Return `text` in exactly so many cells."""
    return set_cell_size(text, cells) if cell_len(text) <= cells else set_cell_size(text, cells - 1) + "…"
