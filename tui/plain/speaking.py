"""Lines on the terminal: whole ones, broken between words, with nothing in them that a terminal obeys."""

from __future__ import annotations

import shutil
import sys

from tui.chat.clean import clean
from tui.commands.table import cells

_NARROWEST = 20


def say(text: str = "", *, as_it_is: bool = False) -> None:
    """Print text of any origin. Lines that stand in columns are printed `as_it_is`, for the terminal to break."""
    wide = max(_NARROWEST, shutil.get_terminal_size().columns - 1)
    for line in clean(text).split("\n"):
        sys.stdout.write("\n".join([line] if as_it_is else broken(line, wide)) + "\n")
    sys.stdout.flush()


def steer(sequence: str) -> None:
    """Write what a terminal obeys and does not show: its clipboard, its bell."""
    sys.stdout.write(sequence)
    sys.stdout.flush()


def broken(line: str, wide: int) -> list[str]:
    """Return a line as several of at most `wide` cells; a word that is longer is left to the terminal."""
    if cells(line) <= wide:
        return [line]
    indent = line[: len(line) - len(line.lstrip(" "))]
    lines, now, used = [], indent, len(indent)
    for word in line.split():
        more = cells(word)
        if used + 1 + more > wide and now.strip():
            lines.append(now)
            now, used = indent, len(indent)
        gap = " " if now.strip() else ""
        now, used = now + gap + word, used + len(gap) + more
    return [*lines, now]
