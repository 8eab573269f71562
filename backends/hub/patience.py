"""How long what fails for now is tried again: a line that cannot be opened briefly, all else for minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from backends.base import Cancel, Cancelled
from backends.errors import BackendError, ServerUnreachable
from backends.jobs.report import Report
from backends.shown import printable

T = TypeVar("T")

FIRST_S = 10.0
"""A name that nobody knows, a server that is off: who has just begun wants to hear of it."""
LONGEST_WAIT_S = 3600.0
_LONGEST_PAUSE_S = 60.0


class Line(Protocol):
    """Whoever talks to a server: `again_s` after a failure as `backends.hub.connection.Connection` has it."""

    again_s: float | None


class Patience:
    """Tries again what fails for now, with ever longer pauses, `later_s` seconds long. Progress makes it fresh.

    Once a server has answered, a line that is down comes back: a router restarts, a laptop wakes up.
    """

    def __init__(self, line: Line, report: Report, cancel: Cancel, later_s: float) -> None:
        self._line, self._report, self._cancel = line, report, cancel
        self._later_s = later_s
        self._reached = False
        self._began: float | None = None
        self._tries = 0
        self._waited_s = 0.0

    def progressed(self) -> None:
        """Tell that something has come."""
        self._reached, self._began, self._tries, self._waited_s = True, None, 0, 0.0

    def tried(self, ask: Callable[[], T], stage: str) -> T:
        """Return what `ask` returns, sooner or later. Raises what it raises, and Cancelled."""
        while True:
            self._report.stage(stage)
            try:
                found = ask()
            except BackendError as error:
                self.pause(error)
            else:
                self.progressed()
                return found

    def pause(self, error: BackendError) -> None:
        """Wait before the next try. Raises `error` if it makes no sense to wait or to wait any longer, and Cancelled.

        What a server has asked for with its Retry-After does not count, up to an hour.
        """
        wanted_s = self._line.again_s
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        if wanted_s is None:
            raise error
        pause_s = max(wanted_s, min(_LONGEST_PAUSE_S, 2.0**self._tries))
        if wanted_s:
            self._waited_s += pause_s
            if self._waited_s > LONGEST_WAIT_S:
                raise error
        else:
            brief = isinstance(error, ServerUnreachable) and not self._reached
            left_s = (min(FIRST_S, self._later_s) if brief else self._later_s) - (now - self._began - self._waited_s)
            if left_s <= 0:
                raise error
            pause_s = min(pause_s, left_s)
        self._tries += 1
        self._sleep(error, pause_s)

    def _sleep(self, error: BackendError, pause_s: float) -> None:
        until = time.monotonic() + pause_s
        while (left_s := until - time.monotonic()) > 0:
            self._report.stage("waiting", f"{printable(str(error), 200)} The next try is in {left_s:.0f} s.")
            if self._cancel.wait(min(1.0, left_s)):
                raise Cancelled
