"""The sha256 of files of gigabytes: read through once, and remembered as long as a file stays as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from backends import remembered

_KIND = "sha256"
_MARK = "sha256:"


def digest(path: Path, pieces: Callable[[], Iterable[bytes]]) -> str:
    """Return "sha256:" and 64 hexadecimal digits; `pieces` reads the file, and is asked only if it has to be read.

    Raises what `pieces` raises.
    """
    if known := known_digest(path):
        return known
    key = remembered.key_of_model(path)
    found = hashlib.sha256()
    for piece in pieces():
        found.update(piece)
    text = f"{_MARK}{found.hexdigest()}"
    if remembered.key_of_model(path) == key:  # nobody wrote to it meanwhile
        remembered.write(_KIND, key, text)
    return text


def known_digest(path: Path) -> str:
    """Return a file's hash if it was read through before and has not changed since, else ""."""
    known = remembered.read(_KIND, remembered.key_of_model(path))
    return known if isinstance(known, str) and known.startswith(_MARK) else ""


def of_parts(digests: Iterable[str]) -> str:
    """Return one hash for a model: of a single file its own, of a split one that of the hashes of all parts in order.

    "" where one of them is.
    """
    each = list(digests)
    if not all(each) or len(each) == 1:
        return each[0] if len(each) == 1 else ""
    return _MARK + hashlib.sha256("\n".join(each).encode()).hexdigest()
