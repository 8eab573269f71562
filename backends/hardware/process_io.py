"""What the kernel counts of a process: bytes it had read from disks and written to them, faults that waited, swap.

https://man7.org/linux/man-pages/man5/proc_pid_io.5.html. `read_bytes` counts pages of mapped files too, whoever of the
process's threads touched them or advised to read them. `write_bytes` counts each page as it becomes unwritten, so that
one byte more on a page that is on the disk already counts as a page; a file system in memory counts nothing.
What is swapped out counts as nobody's.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from backends.hardware.io_counters import fields_of
from backends.hardware.kernel_files import text

_ROOT = Path("/")
_MAJOR_FAULTS = 9
"""Place of majflt in /proc/PID/stat, counted after the name: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html."""


class Counts(msgspec.Struct, frozen=True):
    """Counts since a process began; None where the system does not tell. `swapped_bytes` are in swap now."""

    read_bytes: int | None = None
    page_faults: int | None = None
    written_bytes: int | None = None
    swapped_bytes: int | None = None


def counts(pid: int | str = "self", root: Path = _ROOT) -> Counts:
    """Return the counts of a process."""
    folder = root / f"proc/{pid}"
    moved = fields_of(folder / "io")
    swapped = fields_of(folder / "status").get("VmSwap")
    return Counts(
        moved.get("read_bytes"),
        _faults(folder / "stat"),
        moved.get("write_bytes"),
        None if swapped is None else swapped * 1024,
    )


def swapped_out(root: Path = _ROOT) -> int | None:
    """Return how many pages this machine has swapped out since it started, None where it does not tell."""
    for line in text(root / "proc/vmstat").splitlines():
        key, _, value = line.partition(" ")
        if key == "pswpout" and value.isdecimal():
            return int(value)
    return None


def stalled(root: Path = _ROOT) -> float | None:
    """Return the share of the last 10 s in which everything here waited for memory, None where it is not told.

    https://docs.kernel.org/accounting/psi.html
    """
    for line in text(root / "proc/pressure/memory").splitlines():
        kind, *pairs = line.split()
        told = dict(pair.partition("=")[::2] for pair in pairs)
        if kind == "full":
            try:
                return float(told["avg10"]) / 100
            except (KeyError, ValueError):
                return None
    return None


def _faults(path: Path) -> int | None:
    # The name of a program may hold anything, brackets and spaces too: what follows the last bracket is numbers.
    fields = text(path).rpartition(")")[2].split()
    return int(fields[_MAJOR_FAULTS]) if len(fields) > _MAJOR_FAULTS and fields[_MAJOR_FAULTS].isdecimal() else None
