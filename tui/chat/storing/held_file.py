"""The file of the database while it is open, and whether its name still stands for it.

A database that is deleted or replaced under a program would be written where nobody finds it again, and reading it can
harm the one in its place: their journals have one name. https://www.sqlite.org/howtocorrupt.html, 2.4 and 2.5.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tui.chat.storing.stored import StoreError


class HeldFile:
    """The file at `path`, as it was when this was made. Looking again costs microseconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is = _identity(path)

    def check(self) -> None:
        """Raise StoreError if another file, or none, has its name now."""
        if _identity(self._path) != self._is:
            raise StoreError(
                "The conversations were deleted or replaced while they are open",
                f"{self._path} is not the file that was opened.",
                "Put it back, or leave and start again: what is being answered is kept.",
            )


def make(path: Path) -> None:
    """Create the database, or make it readable by its owner alone. Raises OSError if it cannot be written.

    One that is there is not opened: to close it would free the locks of all that this process has open of it.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from None
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
