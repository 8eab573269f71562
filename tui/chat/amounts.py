"""Energy and tokens as people read them: about three figures, a dash where unknown, ~ before an estimate."""

from __future__ import annotations

UNKNOWN = "–"
ESTIMATED = "~"
MICROJOULES_PER_WH = 3_600_000_000


def energy(microjoules: int | None, *, estimated: bool = False) -> str:
    """Return an energy in Wh, in kWh from 1000 Wh on, in mWh below 0.1 Wh."""
    if microjoules is None:
        return UNKNOWN
    wh = microjoules / MICROJOULES_PER_WH
    value, unit = (wh / 1000, "kWh") if wh >= 1000 else (wh * 1000, "mWh") if 0 < wh < 0.1 else (wh, "Wh")
    return f"{ESTIMATED if estimated else ''}{_figure(value)} {unit}"


def tokens(count: int | None) -> str:
    """Return a number of tokens, in millions from one on."""
    if count is None:
        return UNKNOWN
    return f"{count:,}" if count < 1_000_000 else f"{_figure(count / 1e6)}M"


def _figure(value: float) -> str:
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:,.{decimals}f}"
