"""Where this machine swaps to: /proc/swaps."""

from __future__ import annotations

from pathlib import Path

import msgspec

from backends.hardware.kernel_files import printable, text


class Swap(msgspec.Struct, frozen=True):
    """One place to swap to, in bytes. `compressed` says that it is in memory itself (zram), not on a disk."""

    name: str
    total_bytes: int
    used_bytes: int
    compressed: bool = False


def swaps(root: Path = Path("/")) -> tuple[Swap, ...]:
    """Return them all; none where the kernel tells of none. https://man7.org/linux/man-pages/man5/proc_swaps.5.html."""
    found = []
    for line in text(root / "proc/swaps").splitlines()[1:]:
        # From the right: a file's name may hold spaces, which the kernel writes as \040.
        fields = line.rsplit(maxsplit=4)
        if len(fields) == 5 and fields[2].isdecimal() and fields[3].isdecimal():
            name = printable(fields[0])
            found.append(Swap(name, int(fields[2]) * 1024, int(fields[3]) * 1024, name.startswith("/dev/zram")))
    return tuple(found)
