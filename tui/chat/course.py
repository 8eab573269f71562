"""How the figures went in the last minutes: memory of the cards, speed, watts, one point a second."""

from __future__ import annotations

import math
from collections import deque

import msgspec

KEPT_S = 300


class Point(msgspec.Struct, frozen=True):
    """The figures of one second; None where they were unknown. `second` counts by any steady clock.

    `cards_watts` are what the driver tells of the cards, `answer_watts` what the devices of the growing answer draw.
    """

    second: int
    vram_bytes: int | None = None
    tokens_per_second: float | None = None
    cards_watts: float | None = None
    answer_watts: float | None = None


class Course:
    """The last five minutes. A second of which nothing is known is a gap."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=KEPT_S)

    def add(
        self,
        now_s: float,
        vram_bytes: int | None = None,
        tokens_per_second: float | None = None,
        cards_watts: float | None = None,
        answer_watts: float | None = None,
    ) -> None:
        """Add what is true now; of several in one second the last one stays."""
        point = Point(math.floor(now_s), vram_bytes, tokens_per_second, cards_watts, answer_watts)
        if self._points and point.second <= self._points[-1].second:
            self._points.pop()
        self._points.append(point)

    def points(self, now_s: float) -> list[Point]:
        """Return a point for every second from the first that is kept to now, at most five minutes of them."""
        last = math.floor(now_s)
        known = {point.second: point for point in self._points if last - KEPT_S < point.second <= last}
        return [known.get(second, Point(second)) for second in range(min(known), last + 1)] if known else []
