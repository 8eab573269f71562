"""The running record of one answer inside its host: every event once encoded, for the spool and for who watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from backends.base import Cancel, ChatRequest
from backends.energy.meter import Meter
from backends.events import Done, Energy, Io, Metered, PromptProgress, Reasoning, Text, Timings, Usage
from backends.host.counting import Counting
from backends.host.spool import SpoolWriter
from backends.host.wire import AnswerEvent, Chat, Failed, Record, encode
from backends.stopwatch import Stopwatch


class AnswerLog:
    """One answer's records. Written by the engine's thread and by the server, read by connections.

    The last record becomes visible only once the spool holds it on disk, or the disk has refused it for too long.
    `changed` is told whether it cannot wait. `told` is the energy that its last records tell of.
    """

    def __init__(self, chat: Chat, spool: SpoolWriter | None, changed: Callable[[bool], None]) -> None:
        self.answer = chat.answer
        self.request: ChatRequest = chat.request
        self.cancel = Cancel()
        self.lines: list[bytes] = []
        self.finished = False
        self._spool = spool
        self._changed = changed
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._closing = False
        self.told: Energy | None = None
        self._meter: Meter | None = None
        self._counting: Counting | None = None
        self._last_io: Io | None = None
        self._watch: Stopwatch | None = None
        self._load_s: float | None = None
        self._prompt: PromptProgress | None = None
        self._reasoning_tokens = 0
        self._output_tokens = 0

    @property
    def closing(self) -> bool:
        """True as soon as the last record is decided; what the engine still says is dropped."""
        return self._closing

    @property
    def unsaved(self) -> bool:
        """True where its end is told already, and the disk still refuses it."""
        return self.finished and self._spool is not None and not self._spool.over

    @property
    def io(self) -> Io | None:
        """What it has made this process read and write up to now, or up to its end; None if that is not counted."""
        if self._last_io is not None or self._counting is None:
            return self._last_io
        return self._counting.io()

    def begin(self, meter: Meter, load_s: float | None, counting: Counting | None = None) -> None:
        """Take note that the engine turns to it, whose energy `meter` has; `load_s` if it waited for the load.

        `counting` has what the engine reads and writes, where it does so in this process.
        """
        self._meter, self._watch, self._load_s = meter, Stopwatch(), load_s
        self._counting = counting

    def refresh_energy(self) -> None:
        """Have the devices read, for who tells of the energy in a moment. Never blocks."""
        if self._meter is not None:
            self._meter.refresh()

    def tell(self) -> None:
        """Add a record of the energy, and of what was read and written, up to now, if either is known. Never blocks."""
        meter, io = self._meter, self.io
        energy = meter.so_far() if meter is not None else None
        if meter is not None and (energy is not None or io is not None):
            self.append(Metered(energy, meter.watts(), self._timings(), io))

    def append(self, event: PromptProgress | Reasoning | Text | Metered) -> None:
        """Add an event; dropped if the answer was closed meanwhile."""
        with self._lock:
            if self._closing:
                return
            match event:
                case PromptProgress():
                    self._prompt = event
                case Reasoning(tokens=tokens):
                    self._reasoning_tokens += tokens
                    self._count(tokens)
                case Text(tokens=tokens):
                    self._count(tokens)
            line = self._line(event, len(self.lines))
            if self._spool is not None:
                self._spool.write(line)
            self.lines.append(line)
        self._changed(False)

    def close(self, event: Done | Failed, take: Callable[[], Energy | None] | None = None) -> bool:
        """Add the last record: to the spool, synced, then for who watches. Say if this call did it: the first. Blocks.

        `take` ends the account of its energy: only the engine may. Without it, where the engine is still in the answer,
        the energy up to now is told. Before a failure it is a record of its own.
        """
        with self._lock:
            if self._closing:
                return False
            self._closing = True
            self._last_io = self.io
            if self._meter is not None:
                self.told = take() if take is not None else self._meter.read()
        last = self._ending(event, self.told)
        lines = [self._line(one, place) for place, one in enumerate(last, len(self.lines))]
        if self._spool is not None:
            for line in lines:
                self._spool.write(line)
            self._spool.close()
        self.lines += lines
        self.finished = True
        self._changed(True)
        return True

    def _ending(self, event: Done | Failed, energy: Energy | None) -> list[AnswerEvent]:
        """Return the last records: with what was metered, and with its times where the engine gave none."""
        if self._watch is None:
            return [event]
        if isinstance(event, Failed):
            return [Metered(energy, None, self._timings(), self.io), event]
        timings = self._timings()
        if event.timings != Timings():
            timings = msgspec.structs.replace(event.timings, load_s=self._load_s or event.timings.load_s)
        return [msgspec.structs.replace(event, timings=timings, energy=energy, io=self.io)]

    def _timings(self) -> Timings:
        """Return the times as they were seen here, up to the last token."""
        if self._watch is None:
            return Timings()
        return msgspec.structs.replace(self._watch.told(self._output_tokens), load_s=self._load_s)

    def usage(self) -> Usage:
        """Return what was counted here, for an answer that the engine did not end itself."""
        prompt = self._prompt
        return Usage(
            (prompt.total or None) if prompt else None,
            prompt.cached if prompt and prompt.total else None,
            self._reasoning_tokens,
            self._output_tokens,
        )

    def _count(self, tokens: int) -> None:
        self._output_tokens += tokens
        if tokens and self._watch is not None:
            self._watch.piece()

    def _line(self, event: AnswerEvent, place: int) -> bytes:
        return encode(Record(self.answer, place, round(time.monotonic() - self._started, 4), event))
