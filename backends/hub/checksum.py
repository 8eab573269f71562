"""The hash of a file while it is written: a thread that follows the writer, and sees that the disk has it all.

What lies there from an earlier try is read in the same way, so a resumed transfer begins at once.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from pathlib import Path

from backends.base import Cancel, Cancelled

_PIECE = 1024**2
_SYNC_BYTES = 64 * 1024**2
"""After so many bytes the disk is waited for, so that the end does not have to wait for gigabytes."""
_LOOK_S = 0.1


class Follower:
    """Reads what is written to a file, and hashes it. `algorithm` is one of hashlib's names, or "" for none.

    `head` comes before the file's own bytes: git names a file by the hash of its length and its content.
    """

    def __init__(self, path: Path, algorithm: str, head: bytes = b"") -> None:
        """Raises OSError if the file cannot be opened."""
        self._hash = hashlib.new(algorithm, head, usedforsecurity=False) if algorithm else None
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._state = threading.Condition()
        self._there = self.read = 0
        self._wanted: int | None = None
        self._left = self._finished = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._follow, name="checksum", daemon=True)
        self._thread.start()

    def reached(self, size: int) -> None:
        """Tell how many bytes are in the file. Raises OSError if the disk did not take or give earlier ones."""
        with self._state:
            if self._error is not None:
                raise self._error
            self._there = size
            self._state.notify_all()

    def result(self, size: int, cancel: Cancel) -> str:
        """Wait until all `size` bytes are read, and safe on the disk; return the hash, "" where none was wanted.

        Raises OSError if the disk does not take or give them, and Cancelled.
        """
        with self._state:
            self._there = self._wanted = size
            self._state.notify_all()
            while not self._finished:
                if cancel.is_set():
                    raise Cancelled
                self._state.wait(_LOOK_S)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._hash.hexdigest() if self._hash else ""

    def leave(self) -> None:
        """End, without waiting for the disk."""
        with self._state:
            self._left = True
            self._state.notify_all()

    def _follow(self) -> None:
        unsynced = 0
        try:
            while (end := self._next()) is not None:
                while self.read < end and not self._left:
                    unsynced += self._take(min(_PIECE, end - self.read))
                    if unsynced >= _SYNC_BYTES:
                        unsynced = 0
                        os.fdatasync(self._descriptor) if hasattr(os, "fdatasync") else os.fsync(self._descriptor)
            if not self._left:
                os.fsync(self._descriptor)
        except OSError as error:
            self._error = error
        finally:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            with self._state:
                self._finished = True
                self._state.notify_all()

    def _next(self) -> int | None:
        """Wait for more than was read, and return how far it goes; None at the end."""
        with self._state:
            while not self._left and self._there <= self.read and self._wanted != self.read:
                self._state.wait()
            return None if self._left or self._wanted == self.read else self._there

    def _take(self, length: int) -> int:
        data = os.pread(self._descriptor, length, self.read)
        if not data:
            raise OSError(errno.EIO, "the file is shorter than what was written to it")
        if self._hash:
            self._hash.update(data)
        self.read += len(data)
        return len(data)
