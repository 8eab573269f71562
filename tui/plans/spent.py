"""What answers cost here, by preset: the bill's own mean, for a plan's third column."""

from __future__ import annotations

import contextlib
import time

from backends.errors import Problem
from tui.chat.storing.store import Store
from tui.chat.usage import usage

LATELY_S = 90 * 86_400
"""Answers before that count no more: another tariff, another card, and years of them would take long to add up."""


def answer_costs() -> dict[str, dict[str, float]]:
    """Return the mean money of an answer of late in 10⁻⁹ of each currency, by preset; nothing if unreadable."""
    try:
        with contextlib.closing(Store()) as store:
            lately = store.receipts(since=time.time() - LATELY_S)
            return {row.key: row.per_answer for row in usage(lately, "preset").rows}
    except Problem:
        return {}
