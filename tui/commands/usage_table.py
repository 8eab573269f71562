"""What was used, as a person reads it: a table with what stands behind its figures, or bars."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from backends.shown import shown_path
from presets.api_prices import ApiPrices
from tui import plot, terminal, units
from tui.chat import amounts
from tui.chat.bill import Rates
from tui.chat.clean import clean_line
from tui.chat.storing.receipts import NANO
from tui.chat.usage import Row, Usage
from tui.commands import table
from tui.settings import settings_file

_WIDTH = 80
_TITLE = 16
"""Columns that a title keeps, if it has as many."""
_LEFT_OUT = ("TIME", "PROMPT", "OUTPUT", "ANSWERS", "AT THE API", "PUBLISHED", "PER ANSWER", "ENERGY")
"""What makes room in a narrow terminal, first to last."""
_SCALES = ((1.0, ""), (1e3, "thousandths of "), (1e6, "millionths of "))


def lines(used: Usage, prices: ApiPrices, rates: Rates) -> Iterator[str]:
    """Yield the table, a total below it, and notes on what its figures are."""
    columns = table.width()
    shown = [(head, [cell(row) for row in (*used.rows, used.total)]) for head, cell in figures(used, _amount)]
    parts = _fitted([[head, *cells] for head, cells in shown], columns)
    head, *rows = zip(*parts, strict=True)
    yield from table.table(head, rows, columns)
    yield ""
    for note in notes(used, prices, rates):
        yield from [note] if columns is None else _wrapped(note, columns)


def _wrapped(text: str, columns: int) -> list[str]:
    # A path stays whole, to be copied.
    return textwrap.wrap(text, columns, break_long_words=False, break_on_hyphens=False)


def notes(used: Usage, prices: ApiPrices, rates: Rates) -> Iterator[str]:
    """Yield what has to be known about the figures, a sentence or two each."""
    total, where = used.total, shown_path(settings_file())
    if total.assumed and rates.tariff_is_set:
        yield "~ cost: some of it was taken at an assumed price of electricity, before yours was set. It stays so."
    elif total.assumed and rates.tariff is not None:
        price = f"{rates.tariff:.2f} {rates.currency}"
        yield f"~ cost: electricity at an assumed {price} per kWh. Set yours: price_per_kwh below [bill] in {where}"
    if "power supply" in total.assumptions and not total.assumed:
        passed = f"{rates.efficiency:.0%}"
        yield f"~ cost: with a power supply that passes on {passed}. Set yours: psu_efficiency below [bill] in {where}"
    if "hardware" in total.assumptions:
        yield "~ cost: with a share of the hardware's price, spread as lifetime_years and utilisation below [bill] say."
    if total.estimated_uj and total.energy_uj:
        share = max(1, round(100 * total.estimated_uj / total.energy_uj))
        yield f"~ energy: {share}% of it is estimated, not measured. `deepseek-tui doctor` tells why."
    if total.incomplete:
        yield f"≥ energy: {_answers(total.incomplete)} more than is known: a device or a while is missing."
    if total.unmetered:
        nor = " and no cost" if total.unpriced == total.unmetered else ""
        yield f"{_answers(total.unmetered)} no energy figure{nor}: not in the sums."
    if total.unpriced and total.unpriced != total.unmetered:
        yield f"{_answers(total.unpriced)} no cost: not in the sums."
    if used.compared_with:
        yield _compared(used, prices)
    if any(row.published_usd for row in used.rows):
        yield "PUBLISHED: somebody else's figure for an answer, from the table [published] of the preset."


def chart(used: Usage) -> Iterator[str]:
    """Yield bars of what is known of more groups: energy, or else the money of one currency."""
    energy = [(row, float(row.energy_uj)) for row in used.rows if row.energy_uj is not None]
    moneys = {
        name: [(row, row.money[name] / NANO) for row in used.rows if name in row.money] for name in used.total.money
    }
    currency = max(moneys, key=lambda name: len(moneys[name]), default="")
    money = moneys.get(currency, [])
    if len(money) > len(energy):
        most = max(value for _, value in money)
        times, words = next((scale for scale in _SCALES if most * scale[0] >= 1), _SCALES[0])
        yield f"cost by {used.by}, {words}{currency}"
        yield from _bars([(row, value * times) for row, value in money])
    elif energy:
        most = max(value for _, value in energy) / amounts.MICROJOULES_PER_WH
        times, unit = (1e-3, "kWh") if most >= 1000 else (1e3, "mWh") if 0 < most < 1 else (1.0, "Wh")
        yield f"energy by {used.by}, {unit}"
        yield from _bars([(row, value / amounts.MICROJOULES_PER_WH * times) for row, value in energy])
    else:
        yield "Neither energy nor cost of these answers is known, so there is nothing to draw."
        return
    left_out = len(used.rows) - max(len(money), len(energy))
    if left_out:
        yield f"left out, because the figure is unknown: {left_out}"


def _bars(points: Sequence[tuple[Row, float]]) -> Iterator[str]:
    columns = min(table.width() or _WIDTH, _WIDTH)
    names = [table.fitted(clean_line(row.title), columns // 3) for row, _ in points]
    even = _to_the_right(names)
    drawn = plot.bars(
        [(name, value) for name, (_, value) in zip(even, points, strict=True)],
        columns,
        ascii_only=not terminal.shows("█▏"),
    )
    for name, line in zip(names, drawn, strict=True):
        # Wide characters take two columns but were counted once.
        yield line[table.cells(name) - len(name) :]


def figures(used: Usage, amount: Callable[[float, str], str]) -> Iterator[tuple[str, Callable[[Row], str]]]:
    """Yield each column: its head, and what it shows of a row. `amount` writes money of a currency."""

    def money(nano: Mapping[str, float], guessed: Collection[str] = (), between: str = " + ") -> str:
        """Return sums from 10⁻⁹ of each currency, marked where they are `guessed`; a dash if there is none."""
        sums = [("~" if name in guessed else "") + amount(nano[name] / NANO, name) for name in sorted(nano)]
        return between.join(sums) or amounts.UNKNOWN

    yield used.by.upper(), lambda row: clean_line(row.title)
    yield "ANSWERS", lambda row: f"{row.answers:,}"
    yield "PROMPT", lambda row: amounts.tokens(row.prompt_tokens)
    yield "OUTPUT", lambda row: amounts.tokens(row.output_tokens)
    yield "TIME", lambda row: amounts.UNKNOWN if row.seconds is None else units.duration(row.seconds)
    yield "ENERGY", _energy
    yield "COST", lambda row: money(row.money, row.guessed)
    yield "AT THE API", lambda row: money(row.api)
    if used.by == "preset":
        # Each currency is that of other answers: they are no sum.
        yield "PER ANSWER", lambda row: money(row.per_answer, row.guessed, " / ")
    if any(row.published_usd for row in used.rows):
        yield "PUBLISHED", lambda row: money({"USD": row.published_usd * NANO} if row.published_usd else {})


def _fitted(parts: list[list[str]], columns: int | None) -> list[list[str]]:
    """Return the columns that fit, figures to the right: a figure is left out rather than cut."""

    def room() -> int:
        return columns - sum(max(map(table.cells, part)) + table.GAP for part in parts[1:]) if columns else 0

    if columns is not None:
        for name in _LEFT_OUT:
            if room() < min(_TITLE, max(map(table.cells, parts[0]))):
                parts = [part for part in parts if part[0] != name]
        parts[0] = [table.fitted(text, max(room(), table.NARROWEST)) for text in parts[0]]
    return [parts[0], *map(_to_the_right, parts[1:])]


def _to_the_right(part: list[str]) -> list[str]:
    wide = max(map(table.cells, part))
    return [" " * (wide - table.cells(text)) + text for text in part]


def _amount(amount: float, currency: str) -> str:
    text = units.money(amount, currency)
    sign = next((character for character in text if not character.isascii()), "")
    return text if not sign or terminal.shows(sign) else text.replace(sign, f"{currency} ")


def _compared(used: Usage, prices: ApiPrices) -> str:
    first, last = used.compared_with[0], used.compared_with[-1]
    since = time.strftime("%Y-%m-%d", time.gmtime(last.from_s))
    which = f"{last.title}, price of {since}"
    if first.title != last.title:
        which = f"{first.title} to {last.title}, as the prices were then"
    checked = f", checked {prices.checked}" if prices.checked and prices.builtin else ""
    mine = "" if prices.builtin else f", from {shown_path(prices.file)}"
    some = used.total.compared < used.total.answers
    of = f", for {used.total.compared} of {used.total.answers} answers" if some else ""
    return f"AT THE API: the same tokens at {which}{checked}{mine}{of}."


def _energy(row: Row) -> str:
    """Return a row's energy; ≥ before a sum of which a part is missing."""
    least = "≥" if row.incomplete and row.energy_uj is not None else ""
    return least + amounts.energy(row.energy_uj, estimated=row.estimated_uj > 0)


def _answers(count: int) -> str:
    return "1 answer has" if count == 1 else f"{count:,} answers have"
