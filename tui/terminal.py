"""What the terminal can do, for whoever prints to it."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from tui.line import profile


def few_colours() -> bool:
    """Say whether the terminal promises no more than its own 16 colours."""
    return profile.colours({**os.environ, "NO_COLOR": ""}) == "16"


def shows(characters: str, stream: TextIO | None = None, unknown: str = "ascii") -> bool:
    """Say whether the encoding of `stream`, or stdout, has these characters; `unknown` is taken where it tells none."""
    try:
        characters.encode(getattr(stream or sys.stdout, "encoding", None) or unknown)
    except UnicodeEncodeError:
        return False
    return True


def usable() -> bool:
    """Say whether a full screen can be drawn here."""
    return os.isatty(0) and os.isatty(1) and os.environ.get("TERM", "") not in {"", "dumb"}
