"""A file that is not whole yet: `NAME.part` beside where it will be, and `NAME.part.json`, which says of what it is."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

import msgspec

from backends import atomic
from backends.errors import Busy
from backends.hub import failures
from backends.hub.wanted import part_path

_LARGEST_BYTES = 64 * 1024
_ROOM = 1024**2
"""On a full disk so much of the part is given back: whoever else writes there, and we, have last words to say."""


class Identity(msgspec.Struct, frozen=True):
    """What a server said of a file's content. "" is what it did not say. `blob` is the name that git has for it."""

    size: int
    sha256: str = ""
    blob: str = ""
    commit: str = ""
    etag: str = ""

    @property
    def hashed(self) -> tuple[str, str]:
        """Return what can be verified: an algorithm and the hash it has to give, "" and "" for nothing."""
        if self.sha256:
            return "sha256", self.sha256
        return ("sha1", self.blob) if self.blob else ("", "")

    @property
    def head(self) -> bytes:
        """Return what is hashed before the content."""
        return b"blob %d\0" % self.size if self.hashed[0] == "sha1" else b""

    def same(self, other: Identity) -> bool:
        """Say whether the content is certainly the same as what `other` was said of."""
        if self.size != other.size:
            return False
        # The first that both know decides: the strongest first.
        for one, two in (
            (self.sha256, other.sha256),
            (self.blob, other.blob),
            (self.commit, other.commit),
            (self.etag, other.etag),
        ):
            if one and two:
                return one == two
        return False


class _Begun(msgspec.Struct, frozen=True):
    """The file beside a part. `checked` says that it was whole, right and safe on the disk."""

    identity: Identity
    checked: bool = False


class Part:
    """The part of one file, for this process alone. `place` is where the whole file will be.

    What an earlier try has left of the same content is gone on with, anything else is begun anew.
    """

    def __init__(self, place: Path, identity: Identity) -> None:
        """Raises Busy if another process is at it, BackendError if the folder cannot be written."""
        self.place, self.identity = place, identity
        self.path = part_path(place)
        self._about = _about(place)
        self.checked = False
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._descriptor = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise failures.folder_refuses(error, self.path) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.size = os.fstat(self._descriptor).st_size
            self._resume()
        except BlockingIOError as error:
            self.close()
            raise Busy("This file is being fetched already", str(self.path), "`deepseek-tui ps` shows it.") from error
        except OSError as error:
            self.close()
            raise failures.folder_refuses(error, self.path) from error

    def write(self, data: bytes) -> None:
        """Add bytes at the end. Raises BackendError; what is there stays."""
        view = memoryview(data)
        try:
            while view:
                wrote = os.write(self._descriptor, view)
                self.size += wrote
                view = view[wrote:]
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                self._cut(max(0, self.size - _ROOM))
                raise failures.disk_full(self.path, self.size, self.identity.size) from error
            raise failures.folder_refuses(error, self.path) from error

    def begins_with(self, magic: bytes) -> bool:
        """Say whether the file begins so, as far as it is here."""
        return os.pread(self._descriptor, len(magic), 0) == magic[: self.size]

    def restart(self) -> None:
        """Throw away what is here."""
        self._cut(0)

    def check(self) -> None:
        """Note that the whole file was verified, and is safe on the disk."""
        self.checked = True
        with contextlib.suppress(OSError):  # then it is verified again
            self._note()

    def finish(self) -> None:
        """Give the whole file its name. Raises BackendError."""
        try:
            self.path.replace(self.place)
            self._about.unlink(missing_ok=True)
            atomic.sync_folder(self.place.parent)
        except OSError as error:
            raise failures.folder_refuses(error, self.place) from error

    def discard(self) -> None:
        """Remove the part."""
        for path in (self._about, self.path):
            with contextlib.suppress(OSError):
                path.unlink()

    def close(self) -> None:
        os.close(self._descriptor)

    def _resume(self) -> None:
        begun = self._read()
        if begun is None or not begun.identity.same(self.identity) or self.size > self.identity.size:
            self._cut(0)  # before the note: what is there must never pass as what it is not
            self._note()
        else:
            self.checked = begun.checked and self.size == self.identity.size
        os.lseek(self._descriptor, 0, os.SEEK_END)

    def _cut(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, size, os.SEEK_SET)
        self.size, self.checked = size, False

    def _read(self) -> _Begun | None:
        try:
            with self._about.open("rb") as opened:
                return msgspec.json.decode(opened.read(_LARGEST_BYTES), type=_Begun)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def _note(self) -> None:
        atomic.replace(self._about, msgspec.json.encode(_Begun(self.identity, self.checked)), durable=True)


def tidy(place: Path) -> None:
    """Remove what says of a part what it is, where the file has got its name in the meantime. Never raises."""
    with contextlib.suppress(OSError):
        if not part_path(place).exists():
            _about(place).unlink(missing_ok=True)


def _about(place: Path) -> Path:
    return place.with_name(part_path(place).name + ".json")
