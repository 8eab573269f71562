"""How fast a disk gives out a file that is not in memory: measured on a real file, which is only read."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from backends import remembered
from backends.hardware.disk import Disk
from backends.hardware.patience import Question, Unanswered
from backends.hardware.speed import Speed

Method = Literal["direct", "dropped"]
"""How the page cache was kept out: by O_DIRECT, or by dropping what it held of the file first."""

MIB = 1 << 20
MOST_BYTES = 4096 * MIB
LEAST_BYTES = 32 * MIB
"""Less than this is over too soon to say anything, and fits into a disk's own cache."""
_BLOCK = 8 * MIB
_FIRST_BLOCK = MIB
_FAST = 100_000_000
_GRACE_S = 3.0
_SAMPLES = 32
_MOST_RESIDENT = 0.1
_KIND = "disk-read"


class ReadSpeed(msgspec.Struct, frozen=True):
    """What was read in how many seconds, and how. `bytes_per_s` is None if it cannot be told; `problem` says why."""

    bytes_per_s: int | None = None
    method: Method | None = None
    read_bytes: int = 0
    seconds: float = 0.0
    problem: str = ""


def measure_read(path: Path, seconds: float = 2.0, most_bytes: int = MOST_BYTES) -> ReadSpeed:
    """Read a file from its beginning for so many seconds and bytes at most, past the page cache. Never raises.

    One reader with 8 MiB at a time, which the kernel splits into many requests: this is close to what a disk can do
    for one file, and more than a program gets that touches a mapped file here and there. Other caches (the disk's own,
    a server's, a virtual machine's host's) cannot be kept out. A disk that stops answering costs 3 s more.
    """
    try:
        return Question(f"read {path}", lambda: _measured(path, seconds, most_bytes)).answer(seconds + _GRACE_S)
    except Unanswered as silent:
        return ReadSpeed(problem=f"The disk has not answered for {silent.silent_s:.0f} s.")
    except (OSError, ValueError, MemoryError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return ReadSpeed(problem=f"The file cannot be read: {reason}.")


def remember(disk: Disk, measured: ReadSpeed) -> None:
    """Keep what was measured for this disk; nothing if nothing could be."""
    if measured.bytes_per_s is not None:
        remembered.write(_KIND, _key(disk), measured.bytes_per_s)


def recall(disk: Disk) -> Speed | None:
    """Return what was last measured on this disk of this machine, None if nothing was."""
    found = remembered.read(_KIND, _key(disk))
    return Speed(found, "measured") if isinstance(found, int) and found > 0 else None


def _key(disk: Disk) -> str:
    return f"{disk.kind} {disk.device} {disk.model} {disk.file_system} {disk.total_bytes}"


def _measured(path: Path, seconds: float, most_bytes: int) -> ReadSpeed:
    """Raises OSError."""
    # A pipe in place of the file must not make the opening wait.
    plain = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)
    with _opened(path, plain) as file:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return ReadSpeed(problem="It is not a file.")
        if min(status.st_size, most_bytes) < LEAST_BYTES:
            return ReadSpeed(problem=f"The file is too small: less than {LEAST_BYTES // MIB} MiB.")
        direct = getattr(os, "O_DIRECT", 0)
        if direct:
            try:
                with _opened(path, plain | direct) as past_cache:
                    return _timed(past_cache, seconds, min(most_bytes, status.st_size), "direct")
            except OSError as error:
                # What file systems without direct reads say, when it is opened or at the first read.
                if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
                    raise
        if not hasattr(os, "posix_fadvise"):
            return ReadSpeed(problem="This system does not let anybody read past its page cache.")
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        if _resident(file, min(most_bytes, status.st_size)) > _MOST_RESIDENT:
            return ReadSpeed(problem="The file is in use and stays in memory, so the disk would not be measured.")
        return _timed(file, seconds, min(most_bytes, status.st_size), "dropped")


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Any:
    file = os.open(path, flags)
    try:
        yield file
    finally:
        os.close(file)


def _timed(file: int, seconds: float, most_bytes: int, method: Method) -> ReadSpeed:
    # An anonymous mapping begins at a page's border, as direct reads want.
    with mmap.mmap(-1, _BLOCK) as buffer, memoryview(buffer) as whole:
        done, block, began = 0, _FIRST_BLOCK, time.perf_counter()
        spent = 0.0
        while done < most_bytes and spent < seconds:
            with whole[:block] as part:
                got = os.preadv(file, [part], done)
            spent = time.perf_counter() - began
            done += got
            if got < block:
                break
            # A slow disk must be able to stop in time.
            block = _BLOCK if done > _FAST * spent else _FIRST_BLOCK
    # A slow disk has said enough once the time is over, whatever it has read.
    if spent <= 0 or (done < LEAST_BYTES and spent < seconds):
        return ReadSpeed(None, method, done, spent, "The file ended before its speed could be told.")
    return ReadSpeed(round(done / spent), method, done, spent)


def _resident(file: int, size: int) -> float:
    """Return the share of some places of a file that are in the page cache; 0 where the file system does not tell."""
    no_wait = getattr(os, "RWF_NOWAIT", None)
    if no_wait is None:
        return 0.0
    byte, found = bytearray(1), 0
    for place in range(_SAMPLES):
        try:
            found += os.preadv(file, [byte], size * place // _SAMPLES, no_wait) == 1
        except BlockingIOError:
            continue
        except OSError:
            return 0.0
    return found / _SAMPLES
