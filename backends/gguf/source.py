"""Bytes of a file by offset, wherever they are, and a cursor that walks over them in bounded pieces."""

from __future__ import annotations

import os
import re
import stat
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from backends.errors import ModelNotFound
from backends.gguf.problems import UNREADABLE, BadGguf
from backends.shown import shown_path

# A header of 32B with its vocabulary has 6 MB, and the largest vocabularies four times that.
MAX_READ = 64 * 1024**2
# Vocabulary and merges of the largest models come to 0.8 million.
MAX_STRINGS = 2_000_000
FIRST_CHUNK, LARGEST_CHUNK = 256 * 1024, 4 * 1024**2

_U64 = struct.Struct("<Q")
# So many strings at a time are stepped over by one match: 30 to 45 ns each, where a loop takes 75 and more. A string
# is its length in 8 bytes, little endian, and as many bytes; those of up to 64 bytes are spelt out here, the most
# frequent lengths first. Possessive, so that nothing is kept to go back to.
_RUN = 64
_LENGTHS = sorted(range(65), key=lambda length: abs(length - 6))
_STRINGS = re.compile(
    b"(?s:(?:" + b"|".join(b"\\x%02x\\x00{7}.{%d}" % (length, length) for length in _LENGTHS) + b"){%d}+)" % _RUN
)


class Bytes(Protocol):
    """A file as bytes by offset: on this disk, or behind requests for ranges."""

    @property
    def size(self) -> int:
        """The length of the whole file in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only where the file ends. Raises a Problem if it cannot."""


class FileBytes:
    """A file of this machine. Raises ModelNotFound if there is none, BadGguf if it is no file or cannot be read."""

    def __init__(self, path: Path) -> None:
        self.name = shown_path(path)
        try:
            # A pipe must not be waited for.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError) as error:
            hint = "Mend the source in the preset, or fetch the file."
            raise ModelNotFound("The model file is not there", self.name, hint) from error
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._descriptor)
            raise BadGguf(self.name, "this is not a file", title=UNREADABLE, hint="Name a .gguf file in the preset.")
        self.size = status.st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only where the file ends. Raises BadGguf."""
        try:
            return os.pread(self._descriptor, length, offset)
        except (OSError, OverflowError) as error:
            raise self._unreadable(error, offset) from error

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> FileBytes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _unreadable(self, error: Exception, offset: int | None = None) -> BadGguf:
        what = (error.strerror if isinstance(error, OSError) else None) or str(error)
        hint = "Look at the permissions of the file and its folder, and at the disk."
        return BadGguf(self.name, what, offset, title=UNREADABLE, hint=hint)


class Cursor:
    """A place in a file that only goes forward. Everything raises BadGguf where the file ends too early.

    It holds one piece of the file at a time and reads 64 MiB at most. `name` is the file's, for messages.
    """

    def __init__(self, source: Bytes, name: str) -> None:
        self._source = source
        self._name = name
        self._data = b""
        self._start = 0  # where the piece begins in the file
        self._at = 0  # in the piece
        self._chunk = FIRST_CHUNK
        self._left = MAX_READ
        self._strings_left = MAX_STRINGS

    @property
    def position(self) -> int:
        return self._start + self._at

    def number(self, form: struct.Struct) -> Any:
        """Return the one value of `form` here and step over it."""
        self._need(form.size)
        (value,) = form.unpack_from(self._data, self._at)
        self._at += form.size
        return value

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes, which the caller bounds, and step over them."""
        self._need(length)
        taken = self._data[self._at : self._at + length]
        self._at += length
        return taken

    def skip(self, length: int) -> None:
        """Step over `length` bytes, whatever their number is, without reading them."""
        beyond = self.position + length - self._source.size
        if beyond > 0:
            raise self.bad(f"{length} bytes should follow, but the file ends {beyond} bytes before that")
        self._at += length
        self._settle()

    def skip_strings(self, count: int) -> None:
        """Step over `count` strings. Raises BadGguf if that makes more than two millions in this file."""
        if count > self._strings_left:
            raise self.bad(f"a list of {count} texts is longer than that of any model")
        self._strings_left -= count
        while count:
            if count >= _RUN and (match := _STRINGS.match(self._data, self._at)):
                self._at = match.end()
                count -= _RUN
            else:
                self._need(_U64.size)
                count -= self._skip_some_strings(min(count, _RUN))

    def bad(self, what: str) -> BadGguf:
        """Return the error for what is wrong here."""
        return BadGguf(self._name, what, self.position)

    def _skip_some_strings(self, most: int) -> int:
        """Step over `most` strings or as many as begin in this piece, and return their number."""
        data, at, last, unpack = self._data, self._at, len(self._data) - _U64.size, _U64.unpack_from
        done = 0
        while done < most and at <= last:
            self._at = at
            at += _U64.size + unpack(data, at)[0]
            done += 1
        self.skip(at - self._at)
        return done

    def _settle(self) -> None:
        """Let go of a piece that has been left behind; after a wide step the next one is small again."""
        beyond = self._at - len(self._data)
        if beyond > 0:
            self._start, self._at, self._data = self.position, 0, b""
            if beyond > FIRST_CHUNK:
                self._chunk = FIRST_CHUNK

    def _need(self, length: int) -> None:
        """See that `length` bytes from here are in the piece."""
        if self._at + length <= len(self._data):
            return
        there = self._source.size - self.position
        if length > there:
            raise self.bad(f"the file ends in its header: {length} bytes should follow, {max(0, there)} do")
        kept = self._data[self._at :]
        wanted = min(max(length, self._chunk), there) - len(kept)
        self._left -= wanted
        if self._left < 0:
            raise self.bad(f"its header is longer than {MAX_READ} bytes, which no model needs")
        position = self.position
        read = self._source.read(position + len(kept), wanted)
        self._data, self._start, self._at = kept + read, position, 0
        self._chunk = min(2 * self._chunk, LARGEST_CHUNK)
        if len(self._data) < length:
            raise self.bad("the file became shorter while it was read")
