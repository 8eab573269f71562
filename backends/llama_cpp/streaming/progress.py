"""Progress of what the engine does in one call: told from a thread, by what the kernel counts meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backends.events import LoadProgress, LoadStage
from backends.hardware.process_io import counts

_EVERY_S = 0.25

Report = Callable[[LoadProgress], None]


@contextmanager
def telling(report: Report, stage: LoadStage, part: Callable[[], float]) -> Iterator[None]:
    """Report `part`, 0…1, four times a second while something else is done, until `report` raises something."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(_EVERY_S):
            try:
                report(LoadProgress(stage, min(1.0, part())))
            except BaseException:  # noqa: BLE001 - it will be raised where it belongs, at the engine's next report
                return

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def rising(report: Report) -> Report:
    """Return a `report` that leaves out what is behind what it has told of the same stage."""
    told: dict[LoadStage, float] = {}

    def tell(progress: LoadProgress) -> None:
        if progress.fraction is not None:
            if progress.fraction < told.get(progress.stage, 0.0):
                return
            told[progress.stage] = progress.fraction
        report(progress)

    return tell


def part_loaded(size: int) -> Callable[[], float]:
    """Return a measure of how much of a file of `size` bytes has come into this process from now on.

    A map that is filled at once shows in both: read from the disk, and resident. The larger one counts: what was in
    memory is not read, and what memory is too small for does not stay.
    """
    read_before, mapped_before = read_bytes() or 0, _mapped_bytes()

    def part() -> float:
        return max((read_bytes() or 0) - read_before, _mapped_bytes() - mapped_before, 0) / max(1, size)

    return part


def read_bytes() -> int | None:
    """Return what this process has read from disks up to now, None where the kernel does not say."""
    return counts().read_bytes


def _mapped_bytes() -> int:
    """Return what of files is in this process's memory: https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[2]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
