"""The line is cut: the terminal is written to no more, a question on its way still reaches its host, and we are gone.

What is typed is kept as a draft; everything else that was said is on disk or with a host already.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal

from tui.chat import drafts, turn

HUNG_UP = 128 + signal.SIGHUP
HAND_OVER_S = 1.2
_LATEST_S = 1.8
_POLL_S = 0.02


class HangUp:
    """Ends this process when its terminal goes. `screen` also looks at the terminal itself.

    A shell that ignores the hang-up keeps it from its programs: they only see the terminal dead, and would read that
    for ever.
    """

    def __init__(self, *, screen: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Task[None] | None = None
        self._terminal: select.epoll | None = None
        self._loop.add_signal_handler(signal.SIGHUP, self.gone)
        if screen and hasattr(select, "epoll") and os.isatty(0):
            self._terminal = select.epoll()
            self._terminal.register(0, 0)  # nothing but its end is told
            self._loop.add_reader(self._terminal.fileno(), self.gone)

    def gone(self) -> None:
        """End: the terminal is gone."""
        if self._ending is not None:
            return
        # Whatever holds up the event loop, the kernel ends us.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, _LATEST_S)
        if self._terminal is not None:
            self._loop.remove_reader(self._terminal.fileno())
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


def _cut_off() -> None:
    """Put silence in the terminal's place: what reads it waits, what is written goes nowhere."""
    silent, _held_open = os.pipe()
    os.dup2(silent, 0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
