"""The folder of kept conversations: who may write, what is dropped when it grows too large, what is deleted.

What is in the files is the engine's affair. Nothing heavy is imported here: a command line uses it without any engine.
Hosts that run at the same time share the folder. Names change only under its lock, which is held for moments; a file
that is being written is locked by its writer, so that whoever finds it unlocked knows that the writer has died.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from backends import paths
from backends.errors import Problem
from backends.own_writes import own_writes

_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")
_SUFFIX, _UNFINISHED = ".kv", ".tmp"
_GIB = 1024**3


def keepable(chat: str) -> bool:
    """Say whether `chat` can be the name of a file: "" and foreign ids cannot, and are not kept."""
    return _NAME.fullmatch(chat) is not None


def path_of(chat: str, key: str) -> Path:
    """Return where the state of a keepable `chat` lies; `key` stands for the model and engine that it belongs to."""
    return paths.chat_states() / f"{chat}.{key}{_SUFFIX}"


def chats() -> set[str]:
    """Return the conversations of which a state is kept."""
    return {path.name.partition(".")[0] for path in paths.chat_states().glob(f"[!.]*{_SUFFIX}")}


@own_writes()
def forget(chat: str) -> None:
    """Delete every state of a conversation, whatever model it belongs to. Raises Problem if one stays behind."""
    if not keepable(chat) or not paths.chat_states().is_dir():
        return
    try:
        with _locked() as folder:
            for path in folder.glob(f"{chat}.*{_SUFFIX}"):
                path.unlink(missing_ok=True)
    except OSError as error:
        raise Problem(
            "What the engine kept of this conversation could not be deleted",
            f"{error.filename or paths.chat_states()}: {error.strerror}",
            f"Delete the files that begin with {chat} in {paths.chat_states()}.",
        ) from error


@own_writes()
def remove(path: Path) -> None:
    """Delete one state that is of no use. One that cannot be deleted is found useless again."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


@own_writes()
def touch(path: Path) -> None:
    """Note that a state was used: the one that was not for the longest time is dropped first."""
    with contextlib.suppress(OSError):
        os.utime(path)


def tidy() -> None:
    """Delete what hosts left behind that were killed while they wrote. What cannot be deleted now can be later."""
    if paths.chat_states().is_dir():
        with contextlib.suppress(OSError), _locked() as folder:
            _sweep(folder)


@contextlib.contextmanager
def writing(target: Path, size: int, bound: int) -> Iterator[tuple[Path, int]]:
    """Give a locked, empty, private file (path and descriptor) that becomes `target` when the block ends well.

    Older states make way so that all stay within `bound` bytes and the disk keeps some room. Raises OSError if `size`
    bytes cannot be had so, or if anything else prevents it; `target` is then as it was.
    """
    with _locked() as folder:
        _sweep(folder)
        _make_room(folder, target, size, bound)
        path = folder / f".{secrets.token_hex(8)}{_UNFINISHED}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield path, descriptor
        with _locked() as folder:
            path.replace(target)
            # Another host may have written as well meanwhile.
            _make_room(folder, target, target.stat().st_size, bound, written=True)
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def _locked() -> Iterator[Path]:
    """Hold the folder's lock."""
    folder = paths.private(paths.chat_states())
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Delete what writers left behind that died."""
    for path in folder.glob(f".*{_UNFINISHED}"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def _make_room(folder: Path, target: Path, size: int, bound: int, written: bool = False) -> None:
    """Drop the states that were not used for the longest time. Raises OSError, dropping none, if that is not enough."""
    others = []
    for path in folder.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if path != target:
                others.append((status.st_mtime_ns, status.st_size, path))
    over = sum(each for _, each, _ in others) + size - bound
    if not written:
        disk = shutil.disk_usage(folder)
        over = max(over, size + _spared(disk.total) - disk.free)
    dropped = []
    for _, each, path in sorted(others):
        if over <= 0:
            break
        over -= each
        dropped.append(path)
    if over > 0:
        raise OSError(f"there is no room for {size / 1024**2:,.0f} MiB")
    for path in dropped:
        path.unlink(missing_ok=True)


def _spared(total: int) -> int:
    """Return how many bytes of a disk stay free: 1 GiB, or 5 % of a small one."""
    return min(_GIB, total // 20)
