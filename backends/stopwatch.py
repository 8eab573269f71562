"""How long an answer took: to its first token, and from there to its last."""

from __future__ import annotations

import time

from backends.events import Timings


def timings(prefill_s: float | None, decode_s: float | None, tokens: int, load_s: float | None = None) -> Timings:
    """Return the times of an answer of `tokens` generated tokens, its speed derived from them."""
    speed = (tokens - 1) / decode_s if decode_s and decode_s > 0 and tokens > 1 else None
    return Timings(load_s=load_s, prefill_s=prefill_s, decode_s=decode_s, tokens_per_second=speed)


class Stopwatch:
    """The times of an answer as seen from here, for where its engine does not give them or they do not cover it.

    Where several requests made it, `earlier` are the tokens of those before the last, and `earlier_s` their decode.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._first: float | None = None
        self._last: float | None = None
        self.pieces = 0
        self.earlier = 0
        self.earlier_s = 0.0

    def piece(self) -> None:
        """Take note that something came."""
        self.pieces += 1
        self._last = time.monotonic()
        if self._first is None:
            self._first = self._last

    def again(self, tokens: int) -> None:
        """Take note that a further request goes on, behind so many tokens."""
        self.earlier = tokens
        self.earlier_s = time.monotonic() - (self._started if self._first is None else self._first)

    def timings(self, tokens: int) -> Timings:
        """Return the times up to now."""
        return self._until(time.monotonic(), tokens)

    def told(self, tokens: int) -> Timings:
        """Return the times up to the last piece: how fast it went while it went."""
        return self._until(time.monotonic() if self._last is None else self._last, tokens)

    def _until(self, end: float, tokens: int) -> Timings:
        if self._first is None:
            return Timings(prefill_s=end - self._started)
        return timings(self._first - self._started, end - self._first, tokens)
