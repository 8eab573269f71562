"""The file that is being made: `NAME.part` beside where it will be, for one job alone.

Nothing of it is gone on with: what an earlier try has left is written over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from backends import atomic
from backends.llama_cpp.quantizing import failures
from backends.llama_cpp.quantizing.wanted import part_path

WAIT_S = 2.0
"""A job that was just killed has a child that ends a moment later, and holds the lock until then."""
_POLL_S = 0.02


class Part:
    """The part of `target`, empty at first. `descriptor` holds its lock: a child that gets it holds it too."""

    def __init__(self, target: Path) -> None:
        """Raises Busy if another process is at it, BackendError if the folder cannot be written."""
        self.target, self.path = target, part_path(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.descriptor = self._locked()
            os.ftruncate(self.descriptor, 0)
        except BlockingIOError as error:
            raise failures.in_the_making(self.path) from error
        except OSError as error:
            raise failures.cannot_write(error, self.path) from error

    @property
    def size(self) -> int:
        """What is written so far, in bytes."""
        return os.fstat(self.descriptor).st_size

    def finish(self, *, replace: bool) -> None:
        """Give the whole file its name. Raises TargetExists if another has it and stays, BackendError."""
        try:
            os.fsync(self.descriptor)
            if replace:
                self.path.replace(self.target)
            else:
                atomic.put_new(self.path, self.target)
            atomic.sync_folder(self.target.parent)
        except FileExistsError as error:
            raise failures.came_meanwhile(self.target, self.path) from error
        except OSError as error:
            raise failures.cannot_write(error, self.target) from error

    def discard(self) -> None:
        """Remove it."""
        with contextlib.suppress(OSError):
            if self.is_here():
                self.path.unlink()

    def close(self) -> None:
        os.close(self.descriptor)

    def is_here(self) -> bool:
        """Say whether the name still leads to the file whose lock is held."""
        return self._leads_to(self.descriptor)

    def _locked(self) -> int:
        """Return a descriptor of the file with its lock. Raises BlockingIOError if another has it, OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        deadline = time.monotonic() + WAIT_S
        while True:
            descriptor = os.open(self.path, flags, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # It may have got its name in between: then this is somebody's whole model.
                if self._leads_to(descriptor):
                    return descriptor
            except BaseException as error:
                os.close(descriptor)
                if not isinstance(error, BlockingIOError) or time.monotonic() > deadline:
                    raise
            else:
                os.close(descriptor)
            time.sleep(_POLL_S)

    def _leads_to(self, descriptor: int) -> bool:
        try:
            there = self.path.stat(follow_symlinks=False)
        except OSError:
            return False
        held = os.fstat(descriptor)
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
