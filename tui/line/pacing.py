"""How often text may grow on the screen over a line: as often as the terminal says that it has come so far.

Between us and a terminal far away lie buffers that take seconds to empty; nothing on this side tells how full they are.
So the terminal is asked to answer behind what it was sent, and while it has not, what grows by itself waits. What
somebody types is never held back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

QUESTION = "\x1b[5n"
"""How do you do? Every terminal since the VT100 answers: fine, `ESC [ 0 n`, and nothing else looks like that."""
ASKED_BYTES = 512
"""Less than this is not worth a question."""
FLOWING_BYTES = 1024
"""So little may be on its way while more grows: text that comes slowly flows on, rather than stop for each answer."""
UNSEEN_BYTES = 4096
"""So much may be on its way: half a second of a line of 64 kbit/s. What is large and comes behind it waits."""
PATIENCE_S = 3.0


class Pacing:
    """One terminal, asked one question at a time, the first one before there is anything to wait for.

    One that has never answered is not asked again, and not waited for.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked_at: float | None = None
        self._answers = False
        self._unasked = self._unseen = 0

    def begin(self) -> None:
        """Take note that the terminal, just taken over, is asked whether it answers at all."""
        self._asked_at, self._unasked, self._unseen = self._clock(), 0, 0

    def ask(self, size: int) -> bool:
        """Say whether to put the question behind so many bytes, which are written now."""
        self._unasked += size
        self._unseen += size
        if self._unasked <= ASKED_BYTES:
            return False
        if self._asked_at is not None and not (self._overdue() and self._answers):
            return False
        self._asked_at, self._unasked = self._clock(), 0
        return True

    def answered(self) -> None:
        """Take note that the terminal has answered."""
        self._answers = True
        self._asked_at = None
        self._unseen = self._unasked

    def forget(self) -> None:
        """Take the question as not asked: it was dropped on its way, or somebody else has had the answer."""
        if self._answers:
            self._asked_at = None

    def ready(self) -> bool:
        """Say whether what grows by itself may be drawn."""
        return self._unseen < FLOWING_BYTES or not self._waits()

    def full(self) -> bool:
        """Say whether so much is on its way that more would be seen late."""
        return self._unseen > UNSEEN_BYTES and self._waits()

    def _waits(self) -> bool:
        return self._answers and self._asked_at is not None and not self._overdue()

    def _overdue(self) -> bool:
        return self._asked_at is not None and self._clock() - self._asked_at >= PATIENCE_S


class _Used:
    """The pacing of this process, which has one terminal; None on one that is near."""

    pacing: Pacing | None = None


def use(pacing: Pacing | None) -> None:
    """Have a pacing asked from now on; None: whatever grows may always be drawn."""
    _Used.pacing = pacing


def ready() -> bool:
    """Say whether what grows by itself may be drawn on the terminal of this process."""
    return _Used.pacing is None or _Used.pacing.ready()
