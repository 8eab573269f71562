"""Hostile text made harmless: what a model, a file, a preset or a server says never steers the terminal.

Nothing is dropped: each character that a terminal would obey, or that reorders what the reader sees, becomes a visible
sign of itself. Joiners and variation selectors stay, because scripts and emoji need them.
"""

from __future__ import annotations

import re
from typing import Final

HARMFUL: Final = re.compile(
    r"\r\n"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional marks, embeddings, overrides, isolates
    r"\u2028\u2029"  # line and paragraph separator
    r"\ud800-\udfff]"  # surrogates without their partner
)
_SPACING: Final = re.compile(r"[\n\t]+")


def clean(text: str) -> str:
    r"""Return `text` with nothing in it that a terminal obeys; the same object if there was nothing.

    C0 controls and DEL become their control pictures (ESC → ␛), C1 and bidirectional controls their code (⟨U+202E⟩),
    lone surrogates U+FFFD; \r\n, U+2028 and U+2029 become \n. Tab and newline stay.
    """
    return HARMFUL.sub(_visible, text) if HARMFUL.search(text) else text


def clean_line(text: str) -> str:
    """Return `text` cleaned for a place of one line: each run of newlines and tabs is one space."""
    text = clean(text)
    return _SPACING.sub(" ", text) if _SPACING.search(text) else text


def _visible(match: re.Match[str]) -> str:
    found = match[0]
    code = ord(found[0])
    if found == "\r\n" or code in {0x2028, 0x2029}:
        return "\n"
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return f"⟨U+{code:04X}⟩"
