"""What a device draws with the model loaded and nothing to do, measured after the work and kept for the next host."""

from __future__ import annotations

from backends import remembered
from backends.energy.curve import Curve, Mark
from backends.energy.source import Source

LINGER_S = 5.0
"""So long after the work devices are still measured."""
SKIPPED_S = 1.5
"""Clocks and fans take this long to come down."""
SHORTEST_S = 2.0
_FRESH_S = 1.0
_KIND = "idle watts"
_HIGHEST_W = 5_000


class IdleDraw:
    """The idle draw of one device: `watts`, None while it is unknown. An estimate from CPU time has none: 0."""

    def __init__(self, curve: Curve, watts: float | None, *, learns: bool) -> None:
        self.watts = watts if learns else 0.0
        self._curve = curve
        self._learns = learns
        self._window: tuple[Mark, Mark] | None = None

    def rest(self, at_s: float) -> None:
        """Take note that from now on there is nothing to do."""
        if self._learns and self._window is None:
            self._window = (self._curve.mark(at_s + SKIPPED_S), self._curve.mark(at_s + LINGER_S))

    def busy(self, at_s: float) -> None:
        """Take note that there is something to do again: what was measured up to now counts if it was long enough."""
        if self._window is None:
            return
        begin, end = self._window
        if end.reading is not None:
            return
        self._curve.forget(end)
        # A stretch that reaches far into the work would spoil it.
        fresh = begin.reading is not None and self._curve.age_s(at_s) <= _FRESH_S
        if fresh and SHORTEST_S <= (at_s - begin.at_ns / 1e9) <= LINGER_S:
            self._window = (begin, self._curve.mark(at_s))
        else:
            self._curve.forget(begin)
            self._window = None

    def learn(self) -> float | None:
        """Return the watts if they have just become known, and differ from those known before."""
        if self._window is None:
            return None
        begin, end = self._window
        if begin.reading is None or end.reading is None:
            return None
        self._window = None
        if end.reading.missing_ns > begin.reading.missing_ns:
            return None
        watts = round((end.reading.uj - begin.reading.uj) * 1000 / (end.at_ns - begin.at_ns), 2)
        known, self.watts = self.watts, watts
        return watts if watts != known else None


def known_watts(source: Source) -> float | None:
    """Return the idle draw that an earlier host measured."""
    watts = remembered.read(_KIND, _key(source)) if source.measured else None
    if isinstance(watts, int | float) and not isinstance(watts, bool) and 0 <= watts <= _HIGHEST_W:
        return float(watts)
    return None


def keep_watts(source: Source, watts: float) -> None:
    remembered.write(_KIND, _key(source), watts)


def _key(source: Source) -> str:
    return f"{source.device}, {source.label}"
