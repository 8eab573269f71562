"""The model that is quantised: its parts, their tables of tensors, and whether they are still what they were."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from backends.gguf.files import read_headers
from backends.gguf.reader import Header

Identity = tuple[int, int]
"""Device and inode: the same whatever link leads to a file."""


class Stamp(msgspec.Struct, frozen=True):
    """By what it is seen that a file was changed, or that another one has its name now."""

    identity: Identity
    size: int
    changed_ns: int


class Source(msgspec.Struct, frozen=True):
    """A model's files in their order, what they say of themselves, and their stamps before that was read."""

    parts: tuple[Path, ...]
    headers: tuple[Header, ...]
    stamps: tuple[Stamp | None, ...]

    @property
    def first(self) -> Path:
        """The part that the engine is told."""
        return self.parts[0]

    @property
    def tensor_bytes(self) -> int:
        return sum(tensor.size or 0 for header in self.headers for tensor in header.tensors)

    def changed(self) -> Path | None:
        """Return the first part that is no longer what it was, None if all are."""
        for path, stamp in zip(self.parts, self.stamps, strict=True):
            if stamp_of(path) != stamp:
                return path
        return None

    def identities(self) -> set[Identity]:
        return {stamp.identity for stamp in self.stamps if stamp is not None}


def read_source(path: Path) -> Source:
    """Read what a model's files say of themselves; `path` is the file, or any part of a split one.

    Raises ModelNotFound and BadGguf.
    """
    from backends.gguf.files import part_names

    stamps = {path.parent / name: stamp_of(path.parent / name) for name in part_names(path.name)}
    headers = read_headers(path)
    parts = tuple(path.parent / name for name in headers)
    return Source(parts, tuple(headers.values()), tuple(stamps[part] for part in parts))


def stamp_of(path: Path) -> Stamp | None:
    """Return a file's stamp, None if there is none. Links are followed."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Stamp((status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns)


class Ahead:
    """Has the kernel read tensors before the engine comes to them: that maps the file, and asks for nothing itself.

    Used in a `with` block. What the system cannot do is left out.
    """

    def __init__(self, source: Source, order: tuple[str, ...], bytes_ahead: int) -> None:
        self._bytes = bytes_ahead
        self._open: list[int] = []
        self._spans: list[tuple[int, int, int]] = []
        self._next = 0
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                places = self._places(source)
                self._spans = [places[name] for name in order]

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open:
            os.close(descriptor)

    def at(self, place: int) -> None:
        """Ask for what follows the tensor with this place in the order."""
        self._next = max(self._next, place + 1)
        asked = sum(size for _, _, size in self._spans[place + 1 : self._next])
        while self._next < len(self._spans) and asked < self._bytes:
            descriptor, offset, size = self._spans[self._next]
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_WILLNEED)
            asked += size
            self._next += 1

    def _places(self, source: Source) -> Mapping[str, tuple[int, int, int]]:
        found = {}
        for path, header in zip(source.parts, source.headers, strict=True):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._open.append(descriptor)
            for tensor in header.tensors:
                found[tensor.name] = (descriptor, header.data_offset + tensor.offset, tensor.size or 0)
        return found
