"""Small files of the kernel, read without raising: what is not there is "" or None."""

from __future__ import annotations

import re
from pathlib import Path

_MOST_CPUS = 1 << 16


def text(path: Path) -> str:
    """Return what stands in a file, without the space around it; "" if it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except (OSError, ValueError):
        return ""


def number(path: Path) -> int | None:
    """Return the whole number in a file, None if there is none."""
    found = text(path)
    return int(found) if found.isascii() and found.isdecimal() and len(found) < 20 else None


def cpu_list(written: str) -> set[int]:
    """Read the kernel's lists of CPUs, such as "0-3,8"; what is none of it is left out."""
    cpus: set[int] = set()
    for first, last in re.findall(r"\b(\d{1,5})(?:-(\d{1,5}))?\b", written):
        cpus.update(range(int(first), min(int(last or first), _MOST_CPUS) + 1))
    return cpus


def printable(found: str) -> str:
    """Return a name that a device gives itself, without anything that a terminal would obey."""
    return "".join(character for character in found if character.isprintable())[:200]
