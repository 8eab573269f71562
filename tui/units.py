"""Figures as people read them: tokens, durations, memory, energy, money, the time of day. A dash where nobody knows."""

from __future__ import annotations

import time

DASH = "–"
_BAR = " ▏▎▍▌▋▊▉█"
_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "CNY": "¥", "JPY": "¥"}
JOULES_PER_WH = 3600.0


def bar(fraction: float, width: int) -> str:
    """Return a bar of `width` cells filled to `fraction`, in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_BAR[rest] if rest else "")).ljust(width)[:width]


def count(tokens: int | None) -> str:
    """Return a token count in at most four cells: 812, 1.2k, 32k, a dash if unknown."""
    if tokens is None:
        return DASH
    if tokens < 1000:
        return str(tokens)
    thousands = tokens / 1000 if tokens % 1024 else tokens / 1024
    return f"{thousands:.0f}k" if thousands >= 9.95 or thousands == int(thousands) else f"{thousands:.1f}k"


def duration(seconds: float) -> str:
    """Return a duration as people say it: 0.4 s, 41 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def clock(unix_s: float) -> str:
    return time.strftime("%H:%M", time.localtime(unix_s))


def gigabytes(amount: int | float | None) -> str:
    """Return bytes as GB without the unit, a dash if unknown."""
    return DASH if amount is None else f"{amount / 1e9:.1f}"


def money(amount: float, currency: str) -> str:
    """Return money as people write it: $1.20, $0.012, €0.0004, CHF 0.30. What rounds to nothing is not shown as 0."""
    sign = _SIGNS.get(currency, f"{currency} ")
    if amount == 0:
        return f"{sign}0"
    if abs(amount) < 0.00005:
        return f"<{sign}0.0001"
    digits = 2 if abs(amount) >= 0.1 else 3 if abs(amount) >= 0.01 else 4
    return f"{sign}{amount:,.{digits}f}"


def watt_hours(joules: float) -> str:
    """Return energy in watt-hours, with two digits that count: 0.9 Wh, 0.14 Wh, 31 Wh, 1.2 kWh."""
    hours = joules / JOULES_PER_WH
    if hours >= 999.5:
        return f"{hours / 1000:,.1f} kWh"
    if hours >= 9.95:
        return f"{hours:.0f} Wh"
    if hours >= 0.095:
        return f"{hours:.2g} Wh"
    if hours == 0:
        return "0 Wh"
    return f"{hours:.3f} Wh" if hours >= 0.0005 else "<0.001 Wh"
