"""How many bytes of what this process writes to disks are its own files: the spool, kept states, remembered facts.

They are counted as the kernel counts them, page by page and with what a file system adds: by what it says of the thread
that writes, before and after. So what is left of the process's whole count is written by nobody of ours.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from backends.hardware.io_counters import written_by

_lock = threading.Lock()
_over = 0
_open: dict[int, int] = {}
"""What each thread that is writing now had written before, by its number in the kernel."""


@contextmanager
def own_writes() -> Iterator[None]:
    """Count what this thread writes inside the block as our own. A block inside another is a part of it."""
    thread = threading.get_native_id()
    before = None if thread in _open else written_by(thread)
    if before is None:
        yield
        return
    _open[thread] = before
    try:
        yield
    finally:
        with _lock:
            _close(thread, before)


def written() -> int:
    """Return the bytes of our own that were written up to now, those of blocks still open included."""
    with _lock:
        return _over + sum(max(0, (written_by(thread) or before) - before) for thread, before in list(_open.items()))


def _close(thread: int, before: int) -> None:
    global _over  # noqa: PLW0603 - a count of the whole process, as the kernel's
    _over += max(0, (written_by(thread) or before) - before)
    del _open[thread]
