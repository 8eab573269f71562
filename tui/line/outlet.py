"""What is said to the terminal besides the picture: its clipboard, a signal, its title. This process has one terminal.

The screen opens it with what writes to the terminal in the order of the picture; before and after, nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tui.line.profile import Multiplexer

_SCREEN_BYTES: Final = 700
"""GNU screen takes strings of at most 768 bytes."""


class _Out:
    write: Callable[[str], object] | None = None


def to(write: Callable[[str], object] | None) -> None:
    """Have everything written by `write` from now on; None: by nobody."""
    _Out.write = write


def say(sequence: str) -> None:
    """Write a sequence to the terminal, or to nobody."""
    if sequence and _Out.write is not None:
        _Out.write(sequence)


def passed_on(sequence: str, through: Multiplexer) -> str:
    """Return a sequence as the terminal behind a multiplexer gets it."""
    if through == "tmux":
        return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if through == "screen":
        pieces = [sequence[at : at + _SCREEN_BYTES] for at in range(0, len(sequence), _SCREEN_BYTES)]
        return "".join(f"\x1bP{piece}\x1b\\" for piece in pieces)
    return sequence
