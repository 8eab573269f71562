"""Which shared libraries an ELF file needs, read from the file without loading it: elf(5)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

_MAGIC = b"\x7fELF"
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRINGS = 1, 5
_MOST_SEGMENTS = 256
_MOST_ENTRIES = 4096
_LONGEST_NAME = 256


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def needed(path: Path) -> tuple[str, ...]:
    """Return the names that a 64-bit little-endian library asks for, () for any other file. Reads a few KB of it."""
    try:
        with path.open("rb") as file:
            return tuple(_needed(file))
    except (OSError, ValueError, struct.error, OverflowError):
        return ()


def _needed(file: BinaryIO) -> list[str]:
    """Raises ValueError, OverflowError or struct.error for what is no such library."""
    head = file.read(64)
    if head[:6] != _MAGIC + b"\x02\x01":
        return []
    table, count = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<H", head, 56)[0]
    segments = [_segment(_at(file, table + 56 * at, 56)) for at in range(min(count, _MOST_SEGMENTS))]
    names: list[int] = []
    strings: int | None = None
    for segment in segments:
        if segment.kind != _DYNAMIC:
            continue
        entries = _at(file, segment.offset, min(segment.size, 16 * _MOST_ENTRIES))
        for tag, value in struct.iter_unpack("<QQ", entries[: len(entries) // 16 * 16]):
            if tag == 0:
                break
            if tag == _NEEDED:
                names.append(value)
            elif tag == _STRINGS:
                strings = value
    start = None if strings is None else _place(strings, segments)
    if start is None:
        return []
    return [name for offset in names if (name := _name(file, start + offset))]


def _segment(data: bytes) -> _Segment:
    kind, _flags, offset, address, _physical, size = struct.unpack_from("<IIQQQQ", data)
    return _Segment(kind, offset, address, size)


def _place(address: int, segments: list[_Segment]) -> int | None:
    """Return where in the file lies what will be at an address in memory."""
    for segment in segments:
        if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
            return address - segment.address + segment.offset
    return None


def _name(file: BinaryIO, offset: int) -> str:
    text = _at(file, offset, _LONGEST_NAME).partition(b"\0")[0].decode("ascii", "replace")
    return text if text.isprintable() else ""


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
