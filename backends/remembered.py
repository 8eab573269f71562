"""Small facts that are kept on this machine between loads: how many threads were fastest, which template is bad.

They can all be found out again, so a file that is unreadable, damaged or strange counts as empty, and what the disk
refuses is not kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec

from backends import atomic, paths
from backends.own_writes import own_writes

_KEPT = 200
_LARGEST_BYTES = 1024**2


def read(kind: str, key: str) -> Any | None:
    """Return what was written under `kind` and `key`, as JSON gives it back, or None."""
    return _load(_file()).get(kind, {}).get(key)


@own_writes()
def write(kind: str, key: str, value: Any) -> None:
    """Keep a value that JSON can hold; of each kind only the 200 written last. What the disk refuses is dropped."""
    entry = msgspec.Raw(msgspec.json.encode(value))
    with contextlib.suppress(OSError):
        file = _file()
        folder = paths.private(file.parent)
        # The lock has a file of its own, because the other is replaced and not changed.
        lock = os.open(folder / f"{file.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            facts = _load(file)
            entries = facts.setdefault(kind, {})
            entries.pop(key, None)
            entries[key] = entry
            for oldest in list(entries)[:-_KEPT]:
                del entries[oldest]
            encoded = msgspec.json.encode(facts)
            if len(encoded) <= _LARGEST_BYTES:
                atomic.replace(file, encoded)
        finally:
            os.close(lock)


def key_of_model(path: Path, *facts: object) -> str:
    """Return a key for what was found out about a model file, such as with an engine's version and some options."""
    try:
        status = path.stat()
    except OSError:
        described = str(path)
    else:
        described = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    text = "\0".join([described, *map(str, facts)])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _file() -> Path:
    return paths.cache() / "remembered.json"


def _load(file: Path) -> dict[str, dict[str, Any]]:
    try:
        with file.open("rb") as opened:
            data = opened.read(_LARGEST_BYTES + 1)
        return msgspec.json.decode(data, type=dict[str, dict[str, Any]]) if len(data) <= _LARGEST_BYTES else {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
