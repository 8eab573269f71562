"""What the terminal is, found out and told to Textual before Textual is imported, since it reads some of it then."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def prepare() -> None:
    """Set what Textual reads at import: no animations, which cost a remote line ten times the bytes."""
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")


def remote() -> bool:
    """Say whether this terminal is at the other end of an SSH line."""
    return bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))


def few_colours() -> bool:
    """Say whether the terminal promises no more than its own 16 colours."""
    if os.environ.get("COLORTERM", "").lower() in {"truecolor", "24bit"}:
        return False
    term = os.environ.get("TERM", "")
    return not any(word in term for word in ("256", "direct", "kitty", "alacritty", "ghostty", "foot"))


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
