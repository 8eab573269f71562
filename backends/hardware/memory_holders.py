"""Who holds main memory: programs by what comes free when all their processes end, the largest first."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from backends.hardware.kernel_files import printable
from backends.hardware.memory import process_own
from backends.hardware.processes import name_of

_ROOT = Path("/")


class MemoryHolder(msgspec.Struct, frozen=True):
    """A program: its name, what it holds, and in how many processes."""

    name: str
    held_bytes: int
    processes: int


def memory_holders(without: Collection[int] = (), root: Path = _ROOT) -> tuple[MemoryHolder, ...]:
    """Return the programs that are seen from here; the processes `without` are not counted.

    A program is what was started, as a browser is one though it is many processes. Takes some 20 µs a process.
    """
    held: dict[str, list[int]] = {}
    for pid in _processes(root):
        size = process_own(pid, root) if pid not in without else None
        if size:
            held.setdefault(_program(pid, root), []).append(size)
    found = [MemoryHolder(name, sum(sizes), len(sizes)) for name, sizes in held.items() if name]
    return tuple(sorted(found, key=lambda one: (-one.held_bytes, one.name)))


def _processes(root: Path) -> Iterator[int]:
    try:
        yield from sorted(int(entry.name) for entry in (root / "proc").iterdir() if entry.name.isdecimal())
    except OSError:
        return


def _program(pid: int, root: Path) -> str:
    """Return the name of the file that a process runs; of another user's, that of the process."""
    try:
        file = (root / f"proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        return name_of(pid, root)
    return printable(file)
