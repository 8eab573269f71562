"""Where files are mapped in this process's memory: https://man7.org/linux/man-pages/man5/proc_pid_maps.5.html."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

_TABLE = Path("/proc/self/maps")


class Mapped(msgspec.Struct, frozen=True):
    """A piece of a file that is mapped at `address`: its bytes from `start` up to and without `end`."""

    file: Path
    address: int
    start: int
    end: int


def maps_of(files: Iterable[Path], table: Path = _TABLE) -> tuple[Mapped, ...]:
    """Return where this process has mapped these files; what cannot be told is left out.

    Some file systems show another device there than the file has: then its path has to do.
    """
    known: dict[tuple[str, str] | str, Path] = {}
    for file in files:
        try:
            real = os.path.realpath(file)
            status = Path(real).stat()
        except OSError:
            continue
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
        known[device, str(status.st_ino)] = known[real] = file
    try:
        lines = table.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ()
    found = []
    for line in lines:
        fields = line.split(None, 5)
        if len(fields) < 6:
            continue
        mapped = known.get((fields[3], fields[4])) or known.get(fields[5])
        if mapped is not None:
            first, _, last = fields[0].partition("-")
            address, start = int(first, 16), int(fields[2], 16)
            found.append(Mapped(mapped, address, start, start + int(last, 16) - address))
    return tuple(found)


def place_of(address: int, maps: Iterable[Mapped]) -> tuple[Path, int] | None:
    """Return the file and its byte that are at an address of this process."""
    for mapped in maps:
        offset = mapped.start + address - mapped.address
        if mapped.start <= offset < mapped.end:
            return mapped.file, offset
    return None
