"""The model that is quantised: its parts, their tables of tensors, and whether they are still what they were."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

import msgspec

from backends.gguf.files import read_headers
from backends.gguf.reader import Header
from backends.llama_cpp.streaming import hold
from backends.llama_cpp.streaming.ahead import piece_bytes

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

    Used in a `with` block. What the system cannot do is left out. A busy disk may hold up whoever asks it, so that is
    done by a thread.
    """

    def __init__(self, source: Source, order: tuple[str, ...], bytes_ahead: int) -> None:
        self._bytes = bytes_ahead
        self._open: list[int] = []
        self._spans: list[tuple[int, int, int]] = []
        if hold.possible():
            with contextlib.suppress(OSError):
                places = self._places(source)
                self._spans = [places[name] for name in order]
        self._begins = list(accumulate((size for _, _, size in self._spans), initial=0))
        self._place = -1
        self._over = False
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._ask, name="ahead", daemon=True)

    def __enter__(self) -> Ahead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._moved:
            self._over = True
            self._moved.notify()
        self._thread.join()
        for descriptor in self._open:
            os.close(descriptor)

    def at(self, place: int) -> None:
        """Ask for what follows the tensor with this place in the order."""
        with self._moved:
            self._place = place
            self._moved.notify()

    def _ask(self) -> None:
        piece = piece_bytes(self._open)
        for number, (descriptor, offset, size) in enumerate(self._spans):
            with self._moved:
                while not self._over and not self._near(number):
                    self._moved.wait()
            # Pieces that begin where the kernel's do: of one that lies across two it would leave out the end.
            for begin in range(offset // piece * piece, offset + size, piece):
                if self._over:
                    return
                if number <= self._place:  # the engine is there itself
                    break
                with contextlib.suppress(OSError):
                    os.posix_fadvise(descriptor, begin, piece, os.POSIX_FADV_WILLNEED)

    def _near(self, number: int) -> bool:
        """Say whether little enough lies between where the engine is and a tensor."""
        return self._begins[number] - self._begins[min(self._place + 1, number)] < self._bytes

    def _places(self, source: Source) -> Mapping[str, tuple[int, int, int]]:
        found = {}
        for path, header in zip(source.parts, source.headers, strict=True):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._open.append(descriptor)
            for tensor in header.tensors:
                found[tensor.name] = (descriptor, header.data_offset + tensor.offset, tensor.size or 0)
        return found
