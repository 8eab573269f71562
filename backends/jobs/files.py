"""A job's folder: what it is to do, how far it is, and whether anybody is at it.

The lock is held as long as the job's process lives, however that ends. It may also be held for a moment by who looks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

import msgspec

from backends import atomic, lock_file, paths
from backends.jobs.job import JobSpec, Progress

LOCK, SPEC, PROGRESS, STOP, LOG = "lock", "spec.json", "progress.json", "stop", "log"
_LARGEST_BYTES = 256 * 1024
_TRIES, _AGAIN_S = 10, 0.01


def jobs() -> Path:
    """Return the folder of all jobs, one folder for each."""
    return paths.state() / "jobs"


def alive(folder: Path) -> bool:
    """Say whether a process holds the job's lock."""
    return lock_file.held(folder / LOCK)


def acquire(folder: Path) -> int | None:
    """Return a descriptor that holds the job's lock, None where a process has it. Raises OSError.

    The lock goes with the descriptor: a child that gets it holds the lock too, until both have closed it.
    """
    for _ in range(_TRIES):
        paths.private(paths.private(jobs()) / folder.name)
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            continue  # it is just being forgotten
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            time.sleep(_AGAIN_S)
            continue
        except BaseException:
            os.close(descriptor)
            raise
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # it was just forgotten
    return None


def remove(folder: Path) -> None:
    """Remove a job's folder. Called under its lock, which goes last: who takes the next one has a folder that stays."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name != LOCK:
                path.unlink()
        (folder / LOCK).unlink()
        folder.rmdir()


def read_spec(folder: Path) -> JobSpec | None:
    """Return what a job is to do, None where the folder is no job's."""
    try:
        return msgspec.json.decode(_content(folder / SPEC), type=JobSpec)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_progress(folder: Path) -> Progress:
    """Return how far a job is; one that has told nothing yet is just starting."""
    try:
        return msgspec.json.decode(_content(folder / PROGRESS), type=Progress)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Progress()


def read_pid(folder: Path) -> int | None:
    """Return whose the job is, None where that is not written."""
    return lock_file.holder(folder / LOCK)


def write_pid(lock: int, pid: int | None) -> None:
    """Write whose process it is into the lock's file, which stays the same file; None for nobody's.

    A job whose number the disk does not take runs all the same.
    """
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"" if pid is None else str(pid).encode(), 0)


def replace(path: Path, value: msgspec.Struct) -> None:
    """Write a value in one step: a reader sees the old one or the new one. Raises OSError."""
    content = msgspec.json.encode(value)
    try:
        atomic.replace(path, content)
    except OSError as error:
        # On a full disk the old file's own block is what is left to write on.
        try:
            _overwrite(path, content)
        except OSError:
            raise error from None


def _overwrite(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)


def _content(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read(_LARGEST_BYTES)
