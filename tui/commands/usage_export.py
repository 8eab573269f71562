"""What was used, for programs: JSON with SI units in its keys, and CSV that a spreadsheet adds up."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Mapping
from typing import Any

from presets.api_prices import ApiPrice, ApiPrices
from tui.chat.bill import Rates
from tui.chat.clean import clean_line
from tui.chat.storing.receipts import MICRO, NANO
from tui.chat.usage import Row, Usage
from tui.commands.period import Period

_FORMULA = ("=", "+", "-", "@")


def as_json(used: Usage, period: Period, prices: ApiPrices, rates: Rates) -> dict[str, Any]:
    """Return all of it as one object. Unknown figures are null, money that is unknown is an empty list."""
    return {
        "by": used.by,
        "since_s": period.since_s,
        "until_s": period.until_s,
        "rows": [_row(row) for row in used.rows],
        "total": _row(used.total),
        "tariff": {"price_per_kwh": rates.tariff, "currency": rates.currency, "assumed": not rates.tariff_is_set},
        "api": {
            "file": str(prices.file),
            "checked": prices.checked or None,
            "prices": [_price(price) for price in used.compared_with],
        },
    }


def as_csv(used: Usage) -> str:
    """Return a header and a line for each row, without a last newline; a column of money for each currency."""
    total = used.total
    money, api = sorted(total.money), sorted(total.api)
    plain = [key for key, value in _row(total).items() if not isinstance(value, list)]
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow([*plain, *(f"cost_{name}" for name in money), *(f"api_cost_{name}" for name in api)])
    for row in used.rows:
        values = _row(row)
        sums = [_decimal(row.money.get(name)) for name in money] + [_decimal(row.api.get(name)) for name in api]
        lines.writerow([*(_cell(values[key]) for key in plain), *sums])
    return written.getvalue().removesuffix("\n")


def _row(row: Row) -> dict[str, Any]:
    return {
        "key": row.key,
        "title": row.title,
        "answers": row.answers,
        "receipts": row.receipts,
        "prompt_tokens": row.prompt_tokens,
        "cached_tokens": row.cached_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "output_tokens": row.output_tokens,
        "uncounted_receipts": row.uncounted,
        "time_s": row.seconds,
        "energy_j": _joules(row.energy_uj),
        "energy_idle_j": _joules(row.idle_uj),
        "energy_estimated_j": _joules(row.estimated_uj if row.energy_uj is not None else None),
        "unmetered_answers": row.unmetered,
        "unpriced_answers": row.unpriced,
        "incomplete_receipts": row.incomplete,
        "assumed_tariff": row.assumed,
        "assumptions": list(row.assumptions),
        "compared_answers": row.compared,
        "published_usd_per_answer": row.published_usd,
        "cost": _money(row.money),
        "cost_estimated": _money(row.guessed),
        "cost_per_answer": _money(row.per_answer),
        "api_cost": _money(row.api),
    }


def _joules(microjoules: int | None) -> float | None:
    return None if microjoules is None else microjoules / MICRO


def _money(nano: Mapping[str, float]) -> list[dict[str, Any]]:
    return [{"amount": nano[name] / NANO, "currency": name} for name in sorted(nano)]


def _price(price: ApiPrice) -> dict[str, Any]:
    """Return a price without its peak's factor, as it stands in the table."""
    return {
        "title": price.title,
        "from": _moment(price.from_s),
        "until": _moment(price.until_s),
        "input_per_million": price.input_per_million,
        "cached_input_per_million": price.cached_input_per_million,
        "output_per_million": price.output_per_million,
        "currency": price.currency,
        "peak": price.peak,
    }


def _moment(unix_s: float | None) -> str | None:
    if unix_s is None:
        return None
    return datetime.datetime.fromtimestamp(unix_s, datetime.UTC).isoformat().replace("+00:00", "Z")


def _cell(value: Any) -> Any:
    """Return a value as a cell: nothing where unknown, and never what a spreadsheet takes for a formula."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    if not isinstance(value, str):
        return value
    text = clean_line(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def _decimal(nano: int | None) -> str:
    """Return money to its last digit, without an exponent; nothing where unknown."""
    if nano is None:
        return ""
    whole, rest = divmod(abs(nano), NANO)
    return f"{'-' if nano < 0 else ''}{whole}.{rest:09}".rstrip("0").rstrip(".")
