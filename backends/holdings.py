"""What a host has loaded into a server, noted so that a fresh host can free it if ours was killed.

One file for each holding. The host keeps it locked as long as it lives; the lock goes with the process, so a file whose
lock is free was left by a host that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends import paths, registry

_SUFFIX = ".json"
_SIZE_LIMIT = 64 * 1024


class _Note(msgspec.Struct, frozen=True):
    """The file's content: `holding` is what the backend's `release` understands."""

    backend: str
    holding: str


class Holding:
    """A note that something is loaded in a server. It counts until `drop`, or until this process is killed."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    def drop(self) -> None:
        """Take the note back: it was freed. Called again it does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(descriptor)


class Orphan:
    """Something that a killed host left loaded. `backend` and `holding` are what it noted."""

    def __init__(self, path: Path, backend: str, holding: str) -> None:
        self.backend = backend
        self.holding = holding
        self._path = path

    def forget(self) -> None:
        """Delete the note."""
        self._path.unlink(missing_ok=True)


def hold(backend: str, holding: str) -> Holding:
    """Note that this process is about to load something into a server. Raises OSError if it cannot be noted."""
    folder = paths.private(_folder())
    path = folder / f"{uuid.uuid4().hex}{_SUFFIX}"
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        # Locked and filled before it has the name under which it is looked for.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, msgspec.json.encode(_Note(backend, holding)))
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return Holding(path, descriptor)


def orphans() -> Iterator[Orphan]:
    """Yield what killed hosts left, each locked until the next is asked for. What a living host holds too is skipped.

    Unreadable notes are deleted.
    """
    held: set[_Note] = set()
    left: list[tuple[Path, _Note]] = []
    with contextlib.ExitStack() as opened:
        for path in sorted(_folder().glob(f"*{_SUFFIX}")):
            try:
                descriptor = os.open(path, os.O_RDWR)
            except OSError:
                continue
            opened.callback(os.close, descriptor)
            note = _read(descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if note is not None:
                    held.add(note)
                continue
            if note is None:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            elif os.fstat(descriptor).st_nlink:  # else another has just freed it
                left.append((path, note))
        for path, note in left:
            if note in held:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            else:
                held.add(note)  # noted twice, freed once
                yield Orphan(path, note.backend, note.holding)


def release_orphans() -> None:
    """Free what killed hosts left in servers: called by a fresh host before it loads.

    A note that cannot be followed is deleted all the same: what is loaded in a server has an end of its own.
    """
    for orphan in orphans():
        with contextlib.suppress(Exception):  # A server may be gone, a plug-in may raise anything: nobody asked for it.
            registry.find(orphan.backend).release(orphan.holding)
        with contextlib.suppress(OSError):
            orphan.forget()


def _folder() -> Path:
    return paths.state() / "holdings"


def _read(descriptor: int) -> _Note | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, _SIZE_LIMIT, 0), type=_Note)
    except (OSError, msgspec.MsgspecError):
        return None
