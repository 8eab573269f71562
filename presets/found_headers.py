"""What the header of a GGUF file says of its model, remembered for as long as the file stays as it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
from pathlib import Path

import msgspec

from backends import atomic, paths
from backends.errors import ModelNotFound
from backends.gguf.files import part_names, read_shape
from backends.gguf.problems import UNREADABLE, BadGguf
from backends.shown import printable

_KEPT = 4000
_LARGEST_BYTES = 8 * 1024**2
_LOCK = threading.Lock()


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """A model by its header; text of it is made printable.

    `size` is in bytes, of all parts. `thinks` says that its chat template knows the tags of a thought. `problem` says
    why a file is no model that can be run, and then the rest is empty.
    """

    size: int
    name: str = ""
    architecture: str = ""
    layers: int = 0
    hidden: int = 0
    quantization: str = ""
    context: int | None = None
    thinks: bool = False
    problem: str = ""


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """Facts, and the state of the files that they were read from."""

    stamp: tuple[tuple[int, int], ...]
    facts: Facts


class Headers:
    """Headers that were read before and now. `facts` may be called from several threads; `save` keeps what is new."""

    def __init__(self) -> None:
        self._kept = _load(_file())
        self._new: dict[str, _Kept] = {}

    def facts(self, path: Path) -> Facts:
        """Return what is known of a file or of the first part of a split one; reads 6 MB where it was never read.

        Raises OSError where it cannot be looked at, or went away.
        """
        names = part_names(path.name)
        stamp = tuple(_stamp(path.with_name(name), first=name == path.name) for name in names)
        key = os.fsencode(path).hex() if not str(path).isprintable() else str(path)
        kept = self._kept.get(key)
        if kept is None or kept.stamp != stamp:
            facts, lasting = _read(path, sum(size for size, _ in stamp))
            kept = _Kept(stamp, facts)
            if lasting:
                with _LOCK:
                    self._new[key] = kept
        return kept.facts

    def save(self) -> None:
        """Write what was read; what the disk refuses is read again another time."""
        with _LOCK:
            new, self._new = self._new, {}
        if new:
            with contextlib.suppress(OSError):
                _merge(new)


def thinks(chat_template: str) -> bool:
    """Say whether a chat template, or a text of a model, knows the tags of a thought."""
    return "<think>" in chat_template or "</think>" in chat_template


def _read(path: Path, size: int) -> tuple[Facts, bool]:
    """Return the facts, and whether they are the file's own: permissions change without a trace in it."""
    try:
        shape = read_shape(path)
    except (BadGguf, ModelNotFound) as problem:
        what = problem.what if isinstance(problem, BadGguf) else problem.detail
        lasting = isinstance(problem, BadGguf) and problem.title != UNREADABLE
        return Facts(size, problem=printable(f"{problem.title}: {what}", 300)), lasting
    facts = Facts(
        size,
        shape.name,
        shape.architecture,
        shape.layers,
        shape.hidden,
        shape.quantization,
        shape.context_length,
        thinks(shape.chat_template),
    )
    return facts, True


def _stamp(path: Path, *, first: bool) -> tuple[int, int]:
    """Return size and time of the last change; of a further part that is not there (0, 0). Raises OSError."""
    try:
        status = path.stat()
    except OSError:
        if first:
            raise
        return 0, 0
    if first and not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(path)
    return status.st_size, status.st_mtime_ns


def _file() -> Path:
    return paths.cache() / "found.json"


def _load(file: Path) -> dict[str, _Kept]:
    try:
        with file.open("rb") as opened:
            data = opened.read(_LARGEST_BYTES + 1)
        return msgspec.json.decode(data, type=dict[str, _Kept]) if len(data) <= _LARGEST_BYTES else {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _merge(new: dict[str, _Kept]) -> None:
    """Put facts behind those that are kept, the oldest of which go. Raises OSError."""
    file = _file()
    paths.private(file.parent)
    lock = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        facts = {key: kept for key, kept in _load(file).items() if key not in new} | new
        encoded = msgspec.json.encode(dict(list(facts.items())[-_KEPT:]))
        if len(encoded) > _LARGEST_BYTES:
            return
        atomic.replace(file, encoded)
    finally:
        os.close(lock)
