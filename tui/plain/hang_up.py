"""The end by a signal: the terminal is as it was, and a question on its way still reaches its host.

The event loop runs in another thread, so that waiting here keeps nothing from it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from tui.chat import turn
from tui.hang_up import HAND_OVER_S

_LATEST_S = 1.8
_POLL_S = 0.02


class Terminal:
    """The modes of the terminal as they were found, for whoever ends in the middle of changing them."""

    def __init__(self) -> None:
        self._modes: list[Any] | None = None
        with contextlib.suppress(termios.error):
            self._modes = termios.tcgetattr(0)

    def restore(self) -> None:
        """Put the modes back. A terminal that is gone has none."""
        if self._modes is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, self._modes)


def watch(terminal: Terminal, keep: Callable[[], object]) -> None:
    """End this process in good order when its terminal goes, or when it is told to; `keep` keeps what is typed."""

    def gone(number: int, _frame: FrameType | None) -> None:
        # Whatever holds up the rest, the kernel ends us.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, _LATEST_S)
        terminal.restore()
        hand_over()
        keep()
        os._exit(128 + number)

    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1) ignores it
            signal.signal(number, gone)


def hand_over() -> None:
    """Wait until no question needs this process any more, but not for ever."""
    until = time.monotonic() + HAND_OVER_S
    while turn.on_the_way() and time.monotonic() < until:
        time.sleep(_POLL_S)
