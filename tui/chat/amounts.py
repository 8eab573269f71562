"""Energy and tokens as people read them: about three figures, a dash where unknown, ~ before an estimate."""

from __future__ import annotations

UNKNOWN = "–"
ESTIMATED = "~"
MICROJOULES_PER_WH = 3_600_000_000
_LEAST_UJ = 18_000
"""Half of 0.01 mWh."""


def energy(microjoules: float | None, *, estimated: bool = False) -> str:
    """Return an energy in Wh, in kWh from 1000 Wh on, in mWh below 0.1 Wh. What rounds to nothing is not shown as 0."""
    if microjoules is None:
        return UNKNOWN
    about = ESTIMATED if estimated else ""
    if 0 < microjoules < _LEAST_UJ:
        return f"{about}<0.01 mWh"
    wh = microjoules / MICROJOULES_PER_WH
    value, unit = (wh / 1000, "kWh") if wh >= 1000 else (wh * 1000, "mWh") if 0 < wh < 0.1 else (wh, "Wh")
    return f"{about}{_figure(value)} {unit}"


def tokens(count: int | None) -> str:
    """Return a number of tokens, in millions from one on."""
    if count is None:
        return UNKNOWN
    return f"{count:,}" if count < 1_000_000 else f"{_figure(count / 1e6)}M"


def _figure(value: float) -> str:
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:,.{decimals}f}"
