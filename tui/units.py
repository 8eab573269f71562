"""Figures as people read them: tokens, durations, memory, energy, money. A dash where nobody knows."""

from __future__ import annotations

import time

from backends.shown import size
from tui.chat import amounts
from tui.chat.storing.receipts import MICRO

DASH = "–"
_BAR = " ▏▎▍▌▋▊▉█"
_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "CNY": "¥", "JPY": "¥"}


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


def roughly(seconds: float) -> str:
    """Return a duration that is only estimated: 4 s, 6 min, 2 h 10 min."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def clock(unix_s: float) -> str:
    return time.strftime("%H:%M", time.localtime(unix_s))


def gigabytes(amount: int | float | None) -> str:
    """Return bytes as GB without the unit, a dash if unknown."""
    return DASH if amount is None else f"{amount / 1e9:.1f}"


def memory(amount: int | None) -> str:
    """Return bytes as 2.9 GB, or 45 MB below one; a dash if unknown."""
    return DASH if amount is None else size(amount)


def share_text(done: int, total: int) -> str:
    """Return how much of what is on its way is here, rounded down: 100 % is only said of what is whole."""
    return f"{min(99, 100 * done // total)} %"


def rate_text(rate: float) -> str:
    """Return bytes a second as 1.2 GB/s, 42 MB/s, 4.2 MB/s or 420 kB/s."""
    if rate < 999_500:
        return f"{rate / 1e3:.0f} kB/s"
    if rate >= 999.5e6:
        return f"{rate / 1e9:.1f} GB/s"
    return f"{rate / 1e6:.0f} MB/s" if rate >= 9.95e6 else f"{rate / 1e6:.1f} MB/s"


def speed(tokens_per_second: float) -> str:
    """Return tokens a second as 36.2, 0.4, 1,204 or, where it would be next to nothing, 0.037."""
    if tokens_per_second >= 999.95:
        return f"{tokens_per_second:,.0f}"
    return f"{tokens_per_second:.1f}" if tokens_per_second >= 0.1 else f"{tokens_per_second:.2g}"


def money(amount: float, currency: str, decimals: int = 4) -> str:
    """Return money as people write it: $1.20, $0.012, €0.0004, CHF 0.30. What rounds to nothing is not shown as 0."""
    sign = _SIGNS.get(currency, f"{currency} ")
    if amount == 0:
        return f"{sign}0"
    least = 10.0**-decimals
    if abs(amount) < least / 2:
        return f"<{sign}{least:.{decimals}f}"
    digits = 2 if abs(amount) >= 0.1 else 3 if abs(amount) >= 0.01 else decimals
    return f"{sign}{amount:,.{digits}f}"


def energy(joules: float | None) -> str:
    """Return energy in mWh, Wh or kWh, a dash if unknown. What rounds to nothing is not shown as 0."""
    return amounts.energy(None if joules is None else joules * MICRO)


def counted(count: int, what: str) -> str:
    """Return how many there are of something whose name has a plural in s."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
