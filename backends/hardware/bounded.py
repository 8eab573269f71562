"""The beginning or the end of a file of any kind: never more than asked for, never waiting, never raising."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def head(path: Path, limit: int) -> str:
    """Return the first `limit` bytes of a file as text, "" for what is no file or cannot be read."""
    return _read(path, limit, from_end=False)


def tail(path: Path, limit: int) -> str:
    """Return the last `limit` bytes of a file as text, "" for what is no file or cannot be read."""
    return _read(path, limit, from_end=True)


def _read(path: Path, limit: int, *, from_end: bool) -> str:
    try:
        # A pipe in the file's place must not make the opening wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return ""
    try:
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return ""
            if from_end:
                file.seek(max(0, status.st_size - limit))
            return file.read(limit).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
