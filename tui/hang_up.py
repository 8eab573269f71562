"""The line is cut: the terminal is written to no more, a question on its way still reaches its host, and we are gone.

What is typed is kept as a draft; everything else that was said is on disk or with a host already. Whatever the event
loop does meanwhile, even nothing: a signal that ends us does so, in bounded time.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import Callable

from tui.chat import drafts, turn

HUNG_UP = 128 + signal.SIGHUP
TERMINATED = 128 + signal.SIGTERM
HAND_OVER_S = 1.2
_LATEST_S = 1.8
_LEAVE_S = 3.0
"""Who asks us to end waits longer than a cut line does, and wants the terminal back in order."""
_POLL_S = 0.02


class HangUp:
    """Ends this process when its terminal goes. `screen` also looks at the terminal itself.

    A shell that ignores the hang-up keeps it from its programs: they only see the terminal dead, and would read that
    for ever. `restore` gives the terminal back where it is still there; it must not wait.
    """

    def __init__(self, *, screen: bool, restore: Callable[[], object] = lambda: None) -> None:
        self._loop = asyncio.get_running_loop()
        self._restore = restore
        self._ending: asyncio.Task[None] | None = None
        self._leave: Callable[[], object] = lambda: None
        self._terminal: select.epoll | None = None
        # Not by the event loop: that hears nothing while something holds it up.
        self._before = {signal.SIGHUP: signal.signal(signal.SIGHUP, self._hung_up)}
        if screen and hasattr(select, "epoll") and os.isatty(0):
            self._terminal = select.epoll()
            self._terminal.register(0, 0)  # nothing but its end is told
            self._loop.add_reader(self._terminal.fileno(), self.gone)

    def leave_when_told(self, leave: Callable[[], object]) -> None:
        """Have SIGTERM call `leave` in the event loop; soon afterwards we are gone, if that did not suffice."""
        self._leave = leave
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._told)

    def close(self) -> None:
        """Hear no more signals: what they were told to do before holds again."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._terminal is not None and self._ending is None:
            self._loop.remove_reader(self._terminal.fileno())
            self._terminal.close()

    def gone(self) -> None:
        """End: the terminal is gone."""
        if self._ending is not None:
            return
        _killed_after(_LATEST_S)
        if self._terminal is not None:
            self._loop.remove_reader(self._terminal.fileno())
        self._restore()
        _cut_off()
        self._ending = self._loop.create_task(self._end())

    async def _end(self) -> None:
        until = self._loop.time() + HAND_OVER_S
        while turn.on_the_way():
            if self._loop.time() > until:
                break
            await asyncio.sleep(_POLL_S)
        drafts.flush()
        os._exit(HUNG_UP)

    def _hung_up(self, *_: object) -> None:
        _killed_after(_LATEST_S)
        self._soon(self.gone)

    def _told(self, *_: object) -> None:
        _killed_after(_LEAVE_S + 0.5)
        _thread.start_new_thread(self._leave_late, ())
        self._soon(self._leave)

    def _leave_late(self) -> None:
        time.sleep(_LEAVE_S)
        self._restore()
        os._exit(TERMINATED)

    def _soon(self, deed: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # The loop has ended, and so do we.
            self._loop.call_soon_threadsafe(deed)


def _killed_after(seconds: float) -> None:
    """Have the kernel end us then, whatever we do."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _cut_off() -> None:
    """Put silence in the terminal's place: what reads it waits, what is written goes nowhere."""
    silent, _held_open = os.pipe()
    os.dup2(silent, 0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
