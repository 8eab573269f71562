"""The size of the terminal: what it is, and when it is looked at anew. A window that is dragged changes it often."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

_LARGEST = (1000, 500)
_UNKNOWN = (80, 24)
_STILL_MOVING = 5
"""While it goes on changing it is looked at after so many times the wait, for people want to see it move."""


def size_of(descriptor: int, environment: Mapping[str, str]) -> tuple[int, int]:
    """Return columns and lines, at least 1 each. A terminal that tells none has those of COLUMNS and LINES."""
    try:
        found = tuple(os.get_terminal_size(descriptor))
    except OSError:
        found = (0, 0)
    if not all(found):
        told = (environment.get("COLUMNS", ""), environment.get("LINES", ""))
        found = tuple(int(text) if text.isdecimal() and len(text) < 6 else 0 for text in told)
    width, height = (
        min(number or unknown, largest) for number, unknown, largest in zip(found, _UNKNOWN, _LARGEST, strict=True)
    )
    return width, height


class Resizing:
    """Calls `tell` in the event loop once the size has not changed for `wait_s`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wait_s: float, tell: Callable[[], object]) -> None:
        self._loop, self._wait_s, self._tell = loop, wait_s, tell
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0

    def changed(self) -> None:
        """Take note that the size has changed; it has to be called in the event loop."""
        now = self._loop.time()
        if self._timer is None:
            self._began = now
        else:
            self._timer.cancel()
        at = min(now + self._wait_s, self._began + _STILL_MOVING * self._wait_s)
        self._timer = self._loop.call_at(at, self._now)

    def _now(self) -> None:
        self._timer = None
        self._tell()
