"""What is measured of the machine while a session runs: its cards, the engine's memory, what it reads and writes."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from backends.events import Io
from backends.hardware.gpu import GpuReading
from backends.hardware.memory import process_rss
from backends.hardware.process_io import counts
from backends.hardware.sampler import GpuSampler
from tui.chat.course import Course, Point
from tui.chat.session import Session

READS_OVER_S = 0.4
"""A rate of reads is taken over no less: several look, and between two of them may lie next to nothing."""


class Machine(msgspec.Struct, frozen=True):
    """One reading. None is unknown.

    `before_bytes` were in use on the cards before the model was loaded. `rss_bytes` and `read_bytes_per_s` are those of
    the process that the engine runs in. `faults_per_s` are page faults that wait for a disk, `io` is what the answer on
    its way, or the last one here, has moved, as long as it is the one that is shown.
    """

    reading: GpuReading | None = None
    before_bytes: int | None = None
    rss_bytes: int | None = None
    read_bytes_per_s: float | None = None
    faults_per_s: float | None = None
    io: Io | None = None

    @property
    def used_bytes(self) -> int | None:
        """Bytes in use on all cards."""
        return _used(self.reading)

    @property
    def total_bytes(self) -> int | None:
        gpus = self.reading.gpus if self.reading is not None else ()
        return sum(gpu.total_bytes for gpu in gpus) if gpus else None

    @property
    def watts(self) -> float | None:
        """What the cards draw together, None unless every one tells."""
        drawn = [gpu.watts for gpu in self.reading.gpus] if self.reading is not None else []
        known = [watts for watts in drawn if watts is not None]
        return sum(known) if known and len(known) == len(drawn) else None


class Gauges:
    """Reads the machine for a session, and keeps how its figures went. `machine` is the latest reading."""

    def __init__(self, sampler: GpuSampler | None = None) -> None:
        self.sampler = sampler or GpuSampler(interval_s=3600)
        self.machine = Machine()
        self.course = Course()
        self._before: int | None = None
        self._pid: int | None = None
        self._io: Io | None = None
        self._io_of: str | None = None
        self._read: tuple[float, int, float | None] | None = None  # When, the bytes up to then, the rate up to then.

    def take(self, session: Session) -> None:
        """Read what can be had without waiting, and ask the driver for the next reading."""
        now = time.monotonic()
        sample = self.sampler.latest()
        reading = sample.reading if sample is not None else None
        self._meet(session, _used(reading))
        # A server's model is not in our process, so that its memory says nothing.
        pid = session.host_pid if _in_process(session) else None
        rss = process_rss(pid) if pid is not None else None
        working = session.busy or session.loading
        reads = self._reads(pid, now) if pid is not None and working else None
        if not working:
            self._read = None
        answer = session.answer
        shown = session.branch[-1].id if session.branch else None
        if answer is not None:
            self._io, self._io_of = answer.io, shown
            # What the process itself tells belongs to these very seconds of the answer.
            reads = answer.reads_per_s if answer.reads_per_s is not None else reads
        else:
            # Of an answer that is over, its last word; nothing of another one.
            told = session.running.moved
            last = told[1] if told is not None and told[0] == shown else self._io
            self._io = last if shown == self._io_of else None
        faults = answer.faults_per_s if answer is not None else None
        machine = self.machine = Machine(reading, self._before, rss, reads, faults, self._io)
        metered = answer.metered if answer is not None and not answer.finished else None
        watts = metered.watts if metered is not None else None
        speed = answer.tokens_per_second if answer is not None else None
        self.course.add(now, machine.used_bytes, speed, machine.watts, watts)
        self.sampler.request()

    def lately(self) -> list[Point]:
        """Return how the figures went up to now."""
        return self.course.points(time.monotonic())

    def _meet(self, session: Session, used: int | None) -> None:
        """Remember what was in use while no model of this session was there; of one met loaded, nothing is known."""
        pid, status = session.host_pid, session.status
        if pid is None:
            self._before = used
        elif pid != self._pid:
            self.sampler.watch([pid])
            self._read = self._io = self._io_of = None
            if status is None or status.phase != "loading":
                self._before = None
        self._pid = pid

    def _reads(self, pid: int, now: float) -> float | None:
        """Return the bytes a second that a process has read from disks lately."""
        before = self._read
        if before is not None and now - before[0] < READS_OVER_S:
            return before[2]
        read = process_reads(pid)
        rate = None
        if read is not None and before is not None and read >= before[1]:
            rate = (read - before[1]) / (now - before[0])
        self._read = None if read is None else (now, read, rate)
        return rate


def process_reads(pid: int, root: Path = Path("/")) -> int | None:
    """Return the bytes that a process has had fetched from disks, None where the system does not tell."""
    return counts(pid, root).read_bytes


def _in_process(session: Session) -> bool:
    loaded = session.status.loaded if session.status is not None else None
    return loaded is None or loaded.place == "process"


def _used(reading: GpuReading | None) -> int | None:
    return sum(gpu.used_bytes for gpu in reading.gpus) if reading is not None and reading.gpus else None
