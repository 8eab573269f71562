"""Once on each machine: how fast its memory and the disk under the models are read. About five seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from backends.hardware import bandwidth, read_speed
from backends.hardware.machine import Machine


def unmeasured(machine: Machine) -> tuple[str, ...]:
    """Return what of this machine was never measured: "memory", "disk"."""
    missing = (("memory", machine.bandwidth), ("disk", machine.disk.read))
    return tuple(name for name, speed in missing if speed is None)


def calibrate(machine: Machine, files: Iterable[Path], say: Callable[[str], None]) -> None:
    """Measure what was never measured and keep it. Never raises; `say` hears of each measurement, and of its failure.

    To be run when nothing else computes. `files` are models on the disk in question: the largest is read, and nothing
    is written; without one the disk is not measured.
    """
    wanted = unmeasured(machine)
    if "memory" in wanted:
        say("Measuring the memory, once: 4 s …")
        if problem := bandwidth.measure().problem:
            say(f"The memory's speed stays unknown. {problem}")
    largest = max(files, key=_size, default=None)
    if "disk" in wanted and largest is not None and _size(largest) >= read_speed.LEAST_BYTES:
        say("Measuring the disk, once: 2 s …")
        measured = read_speed.measure_read(largest)
        read_speed.remember(machine.disk, measured)
        if measured.problem:
            say(f"The disk's speed stays unknown. {measured.problem}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
