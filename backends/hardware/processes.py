"""Other processes of this machine: what they are called, and what stands in the environment of our own."""

from __future__ import annotations

from pathlib import Path

from backends.hardware.bounded import head
from backends.hardware.kernel_files import printable

_ROOT = Path("/")
_LONGEST_NAME = 64
_LONGEST_ENVIRONMENT = 256 * 1024


def name_of(pid: int, root: Path = _ROOT) -> str:
    """Return the name of a process, "" if it is gone or not seen from here."""
    return printable(head(root / f"proc/{pid}/comm", _LONGEST_NAME).strip())


def called(name: str, root: Path = _ROOT) -> tuple[int, ...]:
    """Return the numbers of the processes of this name, the oldest number first."""
    try:
        numbers = sorted(int(entry.name) for entry in (root / "proc").iterdir() if entry.name.isdecimal())
    except (OSError, ValueError):
        return ()
    return tuple(number for number in numbers if name_of(number, root) == name)


def words_of(pid: int, root: Path = _ROOT) -> tuple[str, ...]:
    """Return the command line of a process, () if it is not told."""
    return tuple(word for word in head(root / f"proc/{pid}/cmdline", 4096).split("\0") if word)


def environment_of(pid: int, root: Path = _ROOT) -> dict[str, str] | None:
    """Return the environment with which a process was started, None if it is another user's.

    https://man7.org/linux/man-pages/man5/proc_pid_environ.5.html
    """
    told = head(root / f"proc/{pid}/environ", _LONGEST_ENVIRONMENT)
    if not told:
        return None
    pairs = (entry.partition("=") for entry in told.split("\0") if "=" in entry)
    return {name: value for name, _, value in pairs}
