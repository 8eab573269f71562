"""Small pictures of numbers in text: no colour, one character a column, plain ASCII where a terminal has no blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

_EIGHTHS = "▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
_GAP = "·"


def bars(points: Sequence[tuple[str, float]], columns: int, *, ascii_only: bool = False) -> Iterator[str]:
    """Yield a line for each name and value: a bar from zero, to scale, in lines of at most `columns`."""
    if not points:
        return
    names, figures = max(len(name) for name, _ in points), [_figure(value) for _, value in points]
    room = max(1, columns - names - max(map(len, figures)) - 2)
    most = max(value for _, value in points)
    for (name, value), figure in zip(points, figures, strict=True):
        share = value / most if most > 0 else 0.0
        bar = "#" * round(share * room) if ascii_only else _blocks(share * room)
        yield f"{name:>{names}} {bar} {figure}"


def course(values: Sequence[float | None], columns: int, *, ascii_only: bool = False) -> str:
    """Return one line that shows how values go on, from zero to their largest; neighbours share a column.

    None is unknown: a column of which nothing is known shows a gap.
    """
    if not values:
        return ""
    columns = max(1, min(columns, len(values)))
    edges = [place * len(values) // columns for place in range(columns + 1)]
    parts = [[value for value in values[start:end] if value is not None] for start, end in pairwise(edges)]
    means = [math.fsum(part) / len(part) if part else None for part in parts]
    levels, gap = (".:-=+*#@", " ") if ascii_only else (_LEVELS, _GAP)
    most = max((mean for mean in means if mean is not None), default=0.0)
    return "".join(gap if mean is None else levels[_level(mean, most, len(levels))] for mean in means)


def _level(value: float, most: float, levels: int) -> int:
    return min(levels - 1, int(max(0.0, value) / most * levels)) if most > 0 else 0


def _blocks(width: float) -> str:
    whole, eighths = divmod(round(width * len(_EIGHTHS)), len(_EIGHTHS))
    return _EIGHTHS[-1] * whole + (_EIGHTHS[eighths - 1] if eighths else "")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
