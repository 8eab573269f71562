"""What was used and what it cost, by day, month, preset, backend or chat: receipts added up.

Energy and money are added as the whole numbers that receipts hold, so that every grouping has exactly the same total.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

import msgspec

from backends.events import ASSUMED_TARIFF
from backends.titles import backend_title
from presets.api_prices import ApiPrice, ApiPrices, compare, price_at
from tui.chat.storing.receipts import MICRO, NANO, Receipt

Grouping = Literal["day", "month", "preset", "backend", "chat"]
UNKNOWN_KEY, DELETED_KEY, LOADING_KEY = "", "deleted", "loading"
_TITLES = {UNKNOWN_KEY: "unknown", DELETED_KEY: "deleted chats", LOADING_KEY: "loaded, not asked"}
_Number = TypeVar("_Number", int, float)


class Row(msgspec.Struct, frozen=True):
    """What one group took. A figure is None, or a currency missing, where it is known of no receipt in the group.

    `answers` are those of the `receipts` that belong to an answer; the rest are summaries and loaded models. Of
    `uncounted` receipts the tokens are not known, of `unmetered` ones the energy, of `unpriced` ones the money; of
    `incomplete` ones there was more energy than they tell.
    `energy_uj` are microjoules; `idle_uj` of them would have been drawn anyway, `estimated_uj` were not measured.
    `money` and `api` are 10⁻⁹ of each currency. Of the money, `guessed` comes from an estimate, of the energy or of its
    price; `assumed` says that a part was made with a tariff that nobody set, `assumptions` what else it rests on.
    `priced` counts answers with money by its currency, `compared` those with an API price. `published_usd` is what
    somebody else published for an answer of the preset.
    """

    key: str
    title: str
    answers: int
    receipts: int
    prompt_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    output_tokens: int | None
    uncounted: int
    seconds: float | None
    energy_uj: int | None
    idle_uj: int | None
    estimated_uj: int
    unmetered: int
    incomplete: int
    money: dict[str, int]
    guessed: dict[str, int]
    assumed: bool
    assumptions: tuple[str, ...]
    priced: dict[str, int]
    unpriced: int
    api: dict[str, int]
    compared: int
    published_usd: float | None = None

    @property
    def per_answer(self) -> dict[str, float]:
        """The mean money of an answer in 10⁻⁹ of each currency, with its share of summaries and of loading."""
        return {name: nano / self.priced[name] for name, nano in self.money.items() if self.priced.get(name)}


class Usage(msgspec.Struct, frozen=True):
    """Rows, days and months in their order, others with the most energy first; `compared_with` are the API's prices."""

    by: Grouping
    rows: tuple[Row, ...]
    total: Row
    compared_with: tuple[ApiPrice, ...] = ()


class _Item(NamedTuple):
    """A receipt, and what its tokens cost at the API: 10⁻⁹ of a currency."""

    receipt: Receipt
    api: tuple[str, int] | None


def usage(
    receipts: Iterable[Receipt],
    by: Grouping,
    prices: ApiPrices | None = None,
    titles: Mapping[str, str] | None = None,
    published: Mapping[str, float] | None = None,
) -> Usage:
    """Add up receipts in groups. `titles` are those of chats, by id; `published` US dollars an answer, by preset.

    Days and months are those of the local calendar.
    """
    used: dict[str, ApiPrice] = {}
    items = [_Item(one, _api(one, prices, used)) for one in receipts]
    groups: dict[str, list[_Item]] = {}
    for item in items:
        groups.setdefault(_KEYS[by](item.receipt), []).append(item)
    rows = [_row(key, _title(by, key, titles or {}), group) for key, group in groups.items()]
    if by in {"day", "month"}:
        began = {key: min(item.receipt.at for item in group) for key, group in groups.items()}
        rows.sort(key=lambda row: (began[row.key], row.key))
    else:
        rows.sort(key=lambda row: (-(row.energy_uj or 0), -row.answers, row.title.casefold(), row.key))
    if by == "preset":
        known = published or {}
        rows = [msgspec.structs.replace(row, published_usd=known.get(row.key)) for row in rows]
    compared_with = tuple(sorted(used.values(), key=lambda price: price.from_s))
    return Usage(by, tuple(rows), _row("total", "total", items), compared_with)


def estimated_uj(one: Receipt) -> int:
    """Return how many of a receipt's microjoules were estimated and not measured."""
    if one.energy is None or not one.energy_uj or one.energy.source == "measured":
        return 0
    if not one.energy.devices:
        return one.energy_uj
    guessed = sum(round(device.joules * MICRO) for device in one.energy.devices if not device.measured)
    return min(guessed, one.energy_uj)


def _row(key: str, title: str, items: Sequence[_Item]) -> Row:
    receipts = [item.receipt for item in items]
    answers = [one for one in receipts if one.kind == "answer"]
    return Row(
        key=key,
        title=title,
        answers=len(answers),
        receipts=len(receipts),
        prompt_tokens=_sum(one.prompt_tokens for one in receipts),
        cached_tokens=_sum(one.cached_tokens for one in receipts),
        reasoning_tokens=_sum(one.reasoning_tokens for one in receipts),
        output_tokens=_sum(one.output_tokens for one in receipts),
        uncounted=sum(one.kind != "loading" and None in {one.prompt_tokens, one.output_tokens} for one in receipts),
        seconds=_sum(map(_seconds, receipts), math.fsum),
        energy_uj=_sum(one.energy_uj for one in receipts),
        idle_uj=_sum(one.idle_uj for one in receipts),
        estimated_uj=sum(map(estimated_uj, receipts)),
        unmetered=sum(one.energy_uj is None for one in receipts if one.kind != "loading"),
        incomplete=sum(one.energy is not None and one.energy.incomplete for one in receipts),
        money=_by_currency(map(_money, receipts)),
        guessed=_by_currency(_money(one) for one in receipts if _is_guessed(one)),
        assumed=any(one.cost is not None and one.cost.source == ASSUMED_TARIFF for one in receipts),
        assumptions=tuple(sorted({name for one in receipts if one.cost for name in one.cost.assumptions})),
        priced=_by_currency((money[0], 1) if (money := _money(one)) else None for one in answers),
        unpriced=sum(_money(one) is None for one in receipts if one.kind != "loading"),
        api=_by_currency(item.api for item in items),
        compared=sum(item.api is not None and item.receipt.kind == "answer" for item in items),
    )


def _api(one: Receipt, prices: ApiPrices | None, used: dict[str, ApiPrice]) -> tuple[str, int] | None:
    """Return what a receipt's tokens cost at the API on its day, and note the price in `used`."""
    price = price_at(prices, one.at) if prices is not None and one.kind != "loading" else None
    found = compare(one, price) if price is not None else None
    if price is None or found is None:
        return None
    # The one without its peak hours counts as the one with them.
    if price.name not in used or not price.at_peak:
        used[price.name] = price
    return found.currency, round(found.amount * NANO)


def _money(one: Receipt) -> tuple[str, int] | None:
    return None if one.money_nano is None or one.currency is None else (one.currency, one.money_nano)


def _is_guessed(one: Receipt) -> bool:
    """Whether a receipt's money was made with an estimate; what a server charges is none."""
    if one.cost is None or one.cost.source not in {"tariff", ASSUMED_TARIFF}:
        return False
    return bool(one.cost.assumptions) or one.cost.source == ASSUMED_TARIFF or estimated_uj(one) > 0


def _seconds(one: Receipt) -> float | None:
    """Return how long the machine worked for it, None where nothing of that is known."""
    parts = (one.load_s, one.prefill_s, one.decode_s)
    return None if all(part is None for part in parts) or not math.isfinite(one.seconds) else one.seconds


def _sum(values: Iterable[_Number | None], add: Callable[[Iterable[_Number]], _Number] = sum) -> _Number | None:
    known = [value for value in values if value is not None]
    return add(known) if known else None


def _by_currency(amounts: Iterable[tuple[str, int] | None]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for amount in amounts:
        if amount is not None:
            sums[amount[0]] = sums.get(amount[0], 0) + amount[1]
    return sums


def _day(one: Receipt) -> str:
    """Return the local calendar day that a receipt was written on; of a time that no calendar has, unknown."""
    try:
        there = time.localtime(one.at)
    except (OverflowError, ValueError, OSError):
        return UNKNOWN_KEY
    return f"{there.tm_year:04}-{there.tm_mon:02}-{there.tm_mday:02}"


def _month(one: Receipt) -> str:
    return _day(one).rpartition("-")[0]


def _chat(one: Receipt) -> str:
    if one.kind == "loading":
        return LOADING_KEY
    return one.conversation or DELETED_KEY


def _title(by: Grouping, key: str, titles: Mapping[str, str]) -> str:
    if by == "chat" and key not in _TITLES:
        return titles.get(key) or key
    if by == "backend" and key:
        return backend_title(key)
    return _TITLES[key] if key == UNKNOWN_KEY or by == "chat" else key


_KEYS: dict[Grouping, Callable[[Receipt], str]] = {
    "day": _day,
    "month": _month,
    "preset": lambda one: one.preset or UNKNOWN_KEY,
    "backend": lambda one: one.backend or UNKNOWN_KEY,
    "chat": _chat,
}
