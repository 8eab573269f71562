"""What was copied by way of a file: the last text that was too large for a clipboard, or had none to go to."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from backends import atomic, paths


def file() -> Path:
    """Where it is."""
    return paths.state() / "copied.txt"


def keep(text: str) -> Path:
    """Write a text into the file, which only its owner reads, and return where that is. Raises OSError."""
    place = file()
    paths.private(place.parent)
    atomic.replace(place, text.encode("utf-8", "replace"))
    return place


def drop(older_than_s: float = 0.0) -> None:
    """Remove the file if it was written so long ago; of which chat it was nobody knows."""
    with contextlib.suppress(OSError):
        if file().stat().st_mtime <= time.time() - older_than_s:
            file().unlink()
