"""A file whose lock a process holds as long as it lives, with that process's number in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_LARGEST_BYTES = 64
_NO_PID = 2**31


def held(lock: Path) -> bool:
    """Say whether a process holds the lock. Whoever looks holds it for a moment, too."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(lock: Path) -> int | None:
    """Return whose the lock is, None where that is not written: what is no process's number might end many."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            pid = int(opened.read(_LARGEST_BYTES))
    except (OSError, ValueError):
        return None
    return pid if 1 < pid < _NO_PID else None
