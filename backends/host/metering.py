"""Telling of the running answer's energy, reads and writes once a second, for who watches and for the spool."""

from __future__ import annotations

import asyncio

from backends.events import Io
from backends.host.answer import AnswerLog
from backends.host.engine import Engine

METER_S = 1.0
READ_S = 0.05
"""What a driver usually takes to answer."""


class Metering:
    """Follows each answer of an engine to its end. Everything here runs in the event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._log: AnswerLog | None = None
        self._last: AnswerLog | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def io(self) -> Io | None:
        """What the answer that runs, or else the last one, has made this process read and write."""
        log = self._log or self._last
        return log.io if log is not None else None

    def look(self) -> None:
        """Follow the answer that the engine turned to, if it is another one."""
        log = self._engine.current
        if log is not self._log:
            self._last, self._log = self._log, log
            if self._task is not None:
                self._task.cancel()
            self._task = asyncio.create_task(self._follow(log)) if log is not None else None

    async def _follow(self, log: AnswerLog) -> None:
        while not log.closing:
            await asyncio.sleep(METER_S - READ_S)
            log.refresh_energy()
            await asyncio.sleep(READ_S)
            log.tell()
