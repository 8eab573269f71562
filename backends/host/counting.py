"""Counting what an answer makes the host's process read and write: the kernel's counts less those at its beginning."""

from __future__ import annotations

import os
import stat
import threading

from backends import own_writes
from backends.events import Io
from backends.hardware.process_io import counts

_LOG = 2
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Counting:
    """Counts from now on. May be asked from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged = 0
        self._log_end = _log_size()
        self._own = own_writes.written()
        self._first = counts()

    def io(self) -> Io:
        """Return what was moved up to now."""
        now = counts()
        # Asked after the whole, so that our own is never taken for somebody else's.
        own = own_writes.written() - self._own + self._log_bytes()
        first = self._first
        return Io(
            _since(first.read_bytes, now.read_bytes),
            _since(first.page_faults, now.page_faults),
            _since(first.written_bytes, now.written_bytes),
            own,
            now.swapped_bytes,
        )

    def _log_bytes(self) -> int:
        """Return the pages of the log that were written to: anybody may write there, so its length tells."""
        with self._lock:
            end, before = _log_size(), self._log_end
            if end > before:
                self._logged += (-(-end // _PAGE) - before // _PAGE) * _PAGE
            self._log_end = end
            return self._logged


def _since(before: int | None, now: int | None) -> int | None:
    return None if before is None or now is None else max(0, now - before)


def _log_size() -> int:
    """Return the length of the file that standard error goes to, 0 for anything else."""
    try:
        status = os.fstat(_LOG)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
