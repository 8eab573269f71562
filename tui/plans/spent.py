"""What answers cost here, by preset: the bill's own mean, for a plan's third column."""

from __future__ import annotations

import contextlib

from backends.errors import Problem
from tui.chat.store import Store
from tui.chat.usage import usage


def answer_costs() -> dict[str, dict[str, float]]:
    """Return the mean money of an answer in 10⁻⁹ of each currency, by preset; nothing where it cannot be read."""
    try:
        with contextlib.closing(Store()) as store:
            return {row.key: row.per_answer for row in usage(store.receipts(), "preset").rows}
    except Problem:
        return {}
