"""The energy of one device over time: whole microjoules and nanoseconds, so that sums lose nothing."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class Reading(msgspec.Struct, frozen=True):
    """Microjoules since the curve began, and nanoseconds since then of which nothing is known."""

    uj: int = 0
    missing_ns: int = 0


@dataclass(slots=True, eq=False)
class Mark:
    """A moment whose reading was asked for; `reading` comes with the first sample that is not before it."""

    at_ns: int
    reading: Reading | None = None


def ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)


class Curve:
    """Cumulative energy from samples that come in order of time. Not thread-safe.

    Between two samples it is a straight line. Only the last stretch and the marks that wait are kept.
    """

    def __init__(self, since_s: float) -> None:
        self._before = self._last = Reading()
        self._before_ns = self._last_ns = ns(since_s)
        self._waiting: list[Mark] = []

    def sample(self, at_s: float, delta_uj: int | None) -> None:
        """Add the microjoules (≥ 0) of the stretch since the previous sample, None if nothing is known about it."""
        at_ns = max(ns(at_s), self._last_ns)
        missing_ns = at_ns - self._last_ns if delta_uj is None else 0
        self._before, self._before_ns = self._last, self._last_ns
        self._last = Reading(self._last.uj + (delta_uj or 0), self._last.missing_ns + missing_ns)
        self._last_ns = at_ns
        waiting, self._waiting = self._waiting, []
        for mark in waiting:
            if mark.at_ns <= at_ns:
                mark.reading = self._between(mark.at_ns)
            else:
                self._waiting.append(mark)

    def mark(self, at_s: float) -> Mark:
        """Ask for the reading at a moment, which may be to come. One before the last stretch is taken to its start."""
        mark = Mark(ns(at_s))
        if mark.at_ns <= self._last_ns:
            mark.reading = self._between(mark.at_ns)
        else:
            self._waiting.append(mark)
        return mark

    def forget(self, mark: Mark) -> None:
        """Wait no longer for a mark's reading."""
        self._waiting = [other for other in self._waiting if other is not mark]

    def provisional(self, mark: Mark, *, bridge: bool = False) -> Reading:
        """Return a mark's reading; while it waits, the last point, and as missing what has passed since.

        With `bridge` nothing is missing yet: the next sample will tell.
        """
        if mark.reading is not None:
            return mark.reading
        since_ns = 0 if bridge else mark.at_ns - self._last_ns
        return Reading(self._last.uj, self._last.missing_ns + since_ns)

    def age_s(self, now_s: float) -> float:
        """Return the seconds since the last sample."""
        return (ns(now_s) - self._last_ns) / 1e9

    @property
    def uj(self) -> int:
        """Microjoules up to the last sample."""
        return self._last.uj

    def _between(self, at_ns: int) -> Reading:
        """Interpolate in the last stretch. Whole numbers telescope: the same moment has one reading."""
        length = self._last_ns - self._before_ns
        if length == 0 or at_ns >= self._last_ns:
            return self._last
        part = max(0, at_ns - self._before_ns)
        return Reading(
            self._before.uj + (self._last.uj - self._before.uj) * part // length,
            self._before.missing_ns + (self._last.missing_ns - self._before.missing_ns) * part // length,
        )
