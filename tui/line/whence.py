"""Whether the person sits at this machine, or at the other end of an SSH line.

The environment tells it, but not always: `sudo` and `su -` drop what sshd has put there, and in tmux it is that of
whoever started the session, days ago perhaps and from elsewhere.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_PATIENCE_S = 0.5
_GENERATIONS = 12
_SERVERS = {"sshd", "sshd-session", "dropbear", "mosh-server"}
_VARIABLE = "SSH_CONNECTION"


class Whence(NamedTuple):
    """`far` is whether an SSH line lies between; `why` says what told so, for people, "" if nothing did."""

    far: bool
    why: str = ""


def whence(environment: Mapping[str, str]) -> Whence:
    """Return where the terminal is. Reads /proc, and asks tmux where the program runs inside of it."""
    if environment.get("TMUX"):
        told = _tmux(environment)
        if told is not None:
            return told
    for name in (_VARIABLE, "SSH_TTY"):
        if environment.get(name):
            return Whence(far=True, why=f"{name} is set")
    server = next((name for name in parents() if name in _SERVERS), None)
    return Whence(far=True, why=f"started by {server}") if server else Whence(far=False)


def parents(pid: int | None = None) -> Iterator[str]:
    """Yield the names of a process's parents (by default this one's), the nearest first; none where /proc is not."""
    number = os.getppid() if pid is None else _parent(pid)
    for _ in range(_GENERATIONS):
        if number is None or number <= 1:
            return
        try:
            yield Path(f"/proc/{number}/comm").read_text(errors="replace").strip()
        except OSError:
            return
        number = _parent(number)


def _parent(pid: int) -> int | None:
    try:
        # The name stands in brackets, and may have anything in it.
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _tmux(environment: Mapping[str, str]) -> Whence | None:
    """Return what tmux knows of whoever attached last; None if it says nothing."""
    try:
        done = subprocess.run(
            ["tmux", "show-environment", _VARIABLE],
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env=dict(environment),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    told = done.stdout.decode(errors="replace").strip()
    if told.startswith(f"{_VARIABLE}="):
        return Whence(far=True, why="tmux was attached over SSH")
    return Whence(far=False, why="tmux was attached here") if told == f"-{_VARIABLE}" else None
