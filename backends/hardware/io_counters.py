"""The kernel's counters of one thread, and how such files read. The set-up of a bare machine needs it too: only Python.

https://man7.org/linux/man-pages/man5/proc_pid_io.5.html
"""

from __future__ import annotations

from pathlib import Path

from backends.hardware.kernel_files import text

_ROOT = Path("/")


def written_by(thread: int | str, root: Path = _ROOT) -> int | None:
    """Return the bytes that one thread of this process has written to disks, by its number in the kernel."""
    return fields_of(root / f"proc/self/task/{thread}/io").get("write_bytes")


def fields_of(path: Path) -> dict[str, int]:
    """Return the numbers of a file that has one `name: number` a line."""
    found = {}
    for line in text(path).splitlines():
        key, _, rest = line.partition(":")
        first = rest.split(maxsplit=1)
        if first and first[0].isdecimal():
            found[key] = int(first[0])
    return found
