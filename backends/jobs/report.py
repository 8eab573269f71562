"""What a job tells while it works, and how it hears that it is to end: one thread beats four times a second."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from pathlib import Path

import msgspec

from backends.base import Cancel
from backends.errors import ErrorInfo
from backends.jobs import files
from backends.jobs.job import Progress, State

BEAT_S = 0.25
WINDOW_S = 5.0
"""Over so many seconds the rate is measured: a shorter time jumps about, a longer one hides that a line has broken."""
_LEAST_S = 1.0


class Report:
    """Keeps a job's progress in its folder, inside a `with` block. Sets `cancel` when the job is asked to end.

    `at` may be called for every piece: it costs no more than an assignment. `terminate` may be called by a signal's
    handler.
    """

    def __init__(self, folder: Path, cancel: Cancel) -> None:
        self._folder = folder
        self._cancel = cancel
        self._progress = files.read_progress(folder)
        self._written: Progress | None = None
        self._samples: deque[tuple[float, int]] = deque()
        self._done = self._progress.done_bytes
        self._ends_at: float | None = None
        self._share: float | None = None
        self._shares_from: tuple[float, float] | None = None
        self._asked_to_end = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="progress", daemon=True)

    def __enter__(self) -> Report:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def wished(self) -> bool:
        """Say whether somebody asked this job to end, rather than the system."""
        return (self._folder / files.STOP).exists()

    def stage(self, stage: str, note: str = "") -> None:
        """Tell what is being done now. What was measured of another stage is forgotten."""
        with self._lock:
            if stage != self._progress.stage:
                self._samples.clear()
                self._ends_at = None
                self._share = self._shares_from = None
            self._progress = msgspec.structs.replace(self._progress, stage=stage, note=note)

    def total(self, size: int) -> None:
        """Tell how many bytes there will be in the end."""
        with self._lock:
            self._progress = msgspec.structs.replace(self._progress, total_bytes=size)

    def at(self, done: int) -> None:
        """Tell how many bytes are done."""
        self._done = done

    def jump(self, done: int) -> None:
        """Tell how many bytes are done, where they were not done just now: the rate does not count them."""
        with self._lock:
            self._done = done
            self._samples.clear()

    def expect(self, left_s: float | None) -> None:
        """Tell how long this stage and what follows still take, where that is not what the last seconds' rate says."""
        with self._lock:
            self._ends_at = None if left_s is None else time.monotonic() + left_s

    def share(self, done: float) -> None:
        """Tell which part of the stage's work is done, 0 to 1, where bytes do not tell: `left_s` follows from it."""
        self._share = done

    def terminate(self) -> None:
        self._asked_to_end = True

    def end(self, state: State, *, result: str = "", error: ErrorInfo | None = None) -> None:
        """Tell how the job ended."""
        with self._lock:
            self._progress = msgspec.structs.replace(
                self._measured(), state=state, result=result, error=error, bytes_per_s=None, left_s=None
            )
            self._write()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            if self._asked_to_end or self.wished:
                self._cancel.set()
            with self._lock:
                if self._progress.state == "running":
                    self._progress = self._measured()
                    self._write()

    def _measured(self) -> Progress:
        """Return the progress with what can be said of its rate now. Called under the lock."""
        now, done = time.monotonic(), self._done
        samples = self._samples
        if samples and done < samples[-1][1]:
            samples.clear()  # it began anew
        samples.append((now, done))
        while now - samples[0][0] > WINDOW_S and len(samples) > 2:
            samples.popleft()
        took, moved = now - samples[0][0], done - samples[0][1]
        rate = moved / took if took >= _LEAST_S else None
        total = self._progress.total_bytes
        left = (total - done) / rate if rate and total is not None and total >= done else None
        if self._ends_at is not None:
            left = max(0.0, self._ends_at - now)
        if self._share is not None:
            left = self._left(now, self._share)
        return msgspec.structs.replace(self._progress, done_bytes=done, bytes_per_s=rate, left_s=left)

    def _left(self, now: float, share: float) -> float | None:
        """Return the seconds that are left where the rest goes on like what was done since the first share was told."""
        if self._shares_from is None:
            self._shares_from = now, share
        since, first = self._shares_from
        if now - since < _LEAST_S or share <= first:
            return None
        return (now - since) * max(0.0, 1.0 - share) / (share - first)

    def _write(self) -> None:
        """Write the progress if it is another; a full disk must not end the work. Called under the lock."""
        if self._progress != self._written:
            self._written = self._progress
            with contextlib.suppress(OSError):
                now = msgspec.structs.replace(self._progress, updated_at=time.time())
                files.replace(self._folder / files.PROGRESS, now)
