"""What the usage view shows: a month of receipts, read and added up. Everything here may block."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

import msgspec

from presets.api_prices import ApiPrices, load_api_prices
from tui.chat import recovery
from tui.chat.bill import Rates
from tui.chat.storing import paging
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError
from tui.chat.usage import Grouping, Usage, usage


class Month(msgspec.Struct, frozen=True, order=True):
    """A month of the local calendar."""

    year: int
    number: int

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"

    def moved(self, months: int) -> Month:
        """Return the month that is so many later."""
        years, number = divmod(self.number - 1 + months, 12)
        return Month(self.year + years, number + 1)

    @property
    def start_s(self) -> float:
        """Its first moment, in Unix seconds."""
        return time.mktime((self.year, self.number, 1, 0, 0, 0, 0, 1, -1))


class Found(msgspec.Struct, frozen=True):
    """A month added up, with the prices and rates that its notes speak of."""

    used: Usage
    prices: ApiPrices
    rates: Rates


def this_month() -> Month:
    now = time.localtime(time.time())
    return Month(now.tm_year, now.tm_mon)


def read(store: Store, month: Month, by: Grouping, published: Mapping[str, float]) -> Found:
    """Read a month and add it up. Raises Problem: the store, or prices that cannot be read."""
    prices = load_api_prices()
    # What was left behind belongs to it; where it cannot be written down, the rest can still be read.
    with contextlib.suppress(StoreError):
        recovery.take_in_all(store)
    receipts = store.receipts(month.start_s, month.moved(1).start_s)
    titles = {chat.id: chat.title for chat in paging.every(store)} if by == "chat" else {}
    return Found(usage(receipts, by, prices, titles, published if by == "preset" else {}), prices, store.rates)
