"""The spool: one file for each answer, so that nothing generated is lost, whoever dies.

The client creates and locks the file before the question is committed and hands the open descriptor to the host:
the lock belongs to the open file, so it holds from the first moment to the last record, through either's death.
Lock held: the answer is running. Lock free, last record final: finished. Lock free otherwise: interrupted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from backends import paths
from backends.atomic import sync_folder
from backends.host.wire import Record, decode_record
from backends.own_writes import own_writes

FLUSH_S = 0.2
SYNC_S = 0.8
CLOSE_S = 2.0
AGAIN_S = 1.0
DELETED = "the file that keeps this answer was deleted"
_ID = re.compile(r"[0-9a-zA-Z_-]{1,64}")


def path_of(answer: str) -> Path:
    """Return where an answer's spool is. Raises ValueError for an id that could leave the folder."""
    if not _ID.fullmatch(answer):
        raise ValueError(f"not an answer id: {answer!r}")
    return paths.spools() / f"{answer}.jsonl"


def create(answer: str) -> int:
    """Create an answer's spool, lock it, sync its folder; return the open descriptor. Raises OSError."""
    path = path_of(answer)
    paths.private(path.parent)
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Before it was locked, one who tidies up may have taken it for abandoned.
            if os.fstat(descriptor).st_nlink:
                sync_folder(path.parent)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def running(answer: str) -> bool:
    """Say whether somebody holds the spool's lock: a host that writes it, or a client about to hand it over."""
    with _locked(answer, fcntl.LOCK_SH) as locked:
        return not locked and path_of(answer).exists()


@contextlib.contextmanager
def claim(answer: str) -> Iterator[bool]:
    """Hold the spool's lock inside the block; False if it is missing or somebody else holds it."""
    with _locked(answer, fcntl.LOCK_EX) as locked:
        yield locked


@contextlib.contextmanager
def _locked(answer: str, kind: int) -> Iterator[bool]:
    try:
        # Network file systems give an exclusive lock only to a writer.
        descriptor = os.open(path_of(answer), os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def read(answer: str) -> list[Record]:
    """Return the whole records of a spool, none if it is missing. A torn or damaged line ends the reading.

    Records of another version are passed over where they tell of what is unknown here.
    """
    try:
        content = path_of(answer).read_bytes()
    except FileNotFoundError:
        return []
    records: list[Record] = []
    for seq, line in enumerate(content.split(b"\n")):
        try:
            record = decode_record(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            break
        if record.answer != answer or record.seq != seq:
            break
        if isinstance(record, Record):
            records.append(record)
    return records


def written_at(answer: str) -> float | None:
    """Return when a spool was last written, in Unix seconds; None if it is missing."""
    try:
        return path_of(answer).stat().st_mtime
    except OSError:
        return None


def remove(answer: str) -> None:
    """Delete a spool that was taken in; a second time does nothing. One that stays is for whoever tidies up next."""
    path = path_of(answer)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def answers() -> list[str]:
    """Return the ids of all answers that have a spool. Files with other names are none of ours."""
    try:
        return sorted(path.stem for path in paths.spools().glob("*.jsonl") if _ID.fullmatch(path.stem))
    except OSError:
        return []


class SpoolWriter:
    """Appends lines to an open spool in a thread of its own: written within 250 ms, synced within a second.

    When the disk refuses, lines wait in memory, `trouble` is told why (and "" when it works again), and
    writing is tried again every second.
    """

    def __init__(self, descriptor: int, trouble: Callable[[str], None]) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self._trouble = trouble
        self._told = ""
        self._pending = bytearray()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._complete = False
        self._sync_failed = False
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether nothing is written any more, and the lock is free."""
        return not self._thread.is_alive()

    def write(self, line: bytes) -> None:
        with self._lock:
            self._pending += line

    def close(self) -> bool:
        """Write and sync what is left, free the lock; say whether all of it is on disk.

        Waits for CLOSE_S. What the disk refuses so long is tried further, and the lock held, until it is written or
        this process ends, or until nobody needs it: its file is deleted.
        """
        self._closing.set()
        self._thread.join(CLOSE_S)
        return self._complete

    def _run(self) -> None:
        unsynced_since: float | None = None
        while not self._closing.wait(AGAIN_S if self._told else FLUSH_S):
            if self._flush() and unsynced_since is None:
                unsynced_since = time.monotonic()
            if unsynced_since is not None and time.monotonic() - unsynced_since >= SYNC_S - FLUSH_S:
                self._sync()
                unsynced_since = None
        started = time.monotonic()
        while not self._finish() and not self._deleted():
            time.sleep(FLUSH_S if time.monotonic() - started < CLOSE_S else AGAIN_S)
        os.close(self._descriptor)

    def _finish(self) -> bool:
        """Write and sync what is left; say whether there is nothing more to write."""
        self._flush()
        with self._lock:
            if self._pending:
                return False
        # After a failed sync the kernel may have dropped what it could not write: a later success says nothing.
        self._complete = self._sync() and not self._sync_failed
        return True

    def _flush(self) -> bool:
        """Write what is pending; say whether anything was written."""
        with self._lock:
            chunk = bytes(self._pending)
        written = 0
        try:
            with own_writes():
                while written < len(chunk):
                    written += os.write(self._descriptor, chunk[written:])
        except OSError as error:
            self._tell(str(error.strerror or error))
        else:
            if chunk:
                self._tell(DELETED if self._deleted() else "")
        with self._lock:
            del self._pending[:written]
        return written > 0

    def _sync(self) -> bool:
        try:
            with own_writes():
                os.fsync(self._descriptor)
        except OSError as error:
            self._sync_failed = True
            self._tell(str(error.strerror or error))
            return False
        return True

    def _deleted(self) -> bool:
        return not os.fstat(self._descriptor).st_nlink

    def _tell(self, detail: str) -> None:
        """Pass on what is the matter, "" for nothing, whenever that changes."""
        if detail != self._told:
            self._told = detail
            self._trouble(detail)
