"""GPU readings without waiting: a thread asks the driver, callers get the latest answer and its age."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator

import msgspec

from backends.hardware.gpu import GpuReading, read_gpus

HANGS_AFTER_S = 3.0


class Sample(msgspec.Struct, frozen=True):
    """A reading and how many seconds ago it was finished (for a hanging driver: how long it has been silent)."""

    reading: GpuReading
    age_s: float


class GpuSampler:
    """Reads the cards every `interval_s` seconds in a daemon thread, and at once after `request`.

    A driver call cannot be interrupted. One that takes longer than 3 s makes `latest` say so, until it returns.
    `read` may be given for other sources of readings.
    """

    def __init__(
        self, interval_s: float = 1.0, read: Callable[[Collection[int] | None], GpuReading] = read_gpus
    ) -> None:
        self._interval_s = interval_s
        self._read = read
        self._pids: frozenset[int] = frozenset()
        self._latest: tuple[GpuReading, float] | None = None
        self._reading_since: float | None = None
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to sample; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after the reading that is under way. Does not wait for it."""
        self._ended.set()
        self._wake.set()

    def watch(self, pids: Collection[int]) -> None:
        """Say whose share of the memory is ours, from the next reading on, and ask for one."""
        self._pids = frozenset(pids)
        self.request()

    def request(self) -> None:
        """Ask for a reading now."""
        self._wake.set()

    def latest(self) -> Sample | None:
        """Return the newest reading, None before the first. Never blocks."""
        now, since = time.monotonic(), self._reading_since
        if since is not None and now - since > HANGS_AFTER_S:
            silent_s = now - since
            return Sample(GpuReading(problem=f"The graphics driver has not answered for {silent_s:.0f} s."), silent_s)
        if self._latest is None:
            return None
        reading, finished = self._latest
        return Sample(reading, now - finished)

    def _run(self) -> None:
        while not self._ended.is_set():
            # Opening and closing the driver may hang as well as reading.
            self._reading_since = time.monotonic()
            with _driver_kept_awake():
                while not self._ended.is_set():
                    self._wake.clear()
                    self._reading_since = time.monotonic()
                    reading = self._read(self._pids)
                    self._latest = (reading, time.monotonic())
                    self._reading_since = None
                    self._wake.wait(self._interval_s)
                    if not reading.gpus:
                        # Let go of a driver that failed, so that a repaired one is found.
                        break
                self._reading_since = time.monotonic()
        self._reading_since = None


@contextlib.contextmanager
def _driver_kept_awake() -> Iterator[None]:
    """Hold NVML open: where nothing else uses the card, each opening would wake it and take up to seconds."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - whatever is wrong, the reading itself will say it
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            pynvml.nvmlShutdown()
