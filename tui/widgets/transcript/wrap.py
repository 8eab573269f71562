"""Text cut into rows of a given width in terminal cells, without loss.

Both ways of cutting decide a row from left to right and never take a decision back once the next row has begun. So
text that only grows needs no more than its last row cut again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from rich.cells import cell_len, split_graphemes

TAB: Final = "    "

Piece = tuple[str, str]
"""A row, and what stood between the row before and this one: newline, the spaces of a break, or nothing at a cut."""

# Chinese and Japanese break between any two characters, but not before closing punctuation; the rest at spaces.
_IDEOGRAPH: Final = "\u2e80-\u303f\u3041-\ua4cf\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff60\U00020000-\U0003fffd"
_CLOSING: Final = "、。，．：；！？）」』】》〉”’…"
_TOKEN: Final = rf" +|[{_IDEOGRAPH}][{_CLOSING}\u200d\ufe00-\ufe0f\u3099\u309a]*|[^ {_IDEOGRAPH}]+"
_ASCII_WORD: Final = " +|[^ ]+"
"""The same where there are no ideographs: the large set above takes long to compile."""


def fold(text: str, width: int) -> list[Piece]:
    """Cut one line hard at `width` cells, between graphemes: for code. At least one piece."""
    return [(row, "") for row in _cut(text, width, width)]


def wrap(text: str, width: int) -> list[Piece]:
    """Break one line at spaces; a word longer than a row is cut. At least one piece.

    Spaces at a break are the joint of the next piece; leading spaces stay. Trailing spaces past `width` are left out.
    """
    width = max(width, 2)
    if cell_len(text) <= width:
        return [(text, "")]
    pieces: list[Piece] = []
    row, used, joint = "", 0, ""
    for token in re.findall(_ASCII_WORD if text.isascii() else _TOKEN, text):
        size = cell_len(token)
        if used + size <= width or token[0] == " ":
            row, used = row + token, used + size
            continue
        shown = row.rstrip(" ")
        if shown or used >= width:
            pieces.append((shown, joint))
            joint = row[len(shown) :]
            row, used = "", 0
        if size <= width - used:
            row, used = token, size
            continue
        first, *rest = _cut(token, max(width - used, 0), width)
        for piece in [row + first, *rest[:-1]] if rest else []:
            pieces.append((piece, joint))
            joint = ""
        row = rest[-1] if rest else row + first
        used = cell_len(row)
    pieces.append((row if used <= width else _cut(row, width, width)[0], joint))
    return pieces


def _cut(text: str, first: int, width: int) -> list[str]:
    """Cut into a part of at most `first` cells and parts of at most `width` cells."""
    width = max(width, 2)
    if cell_len(text) <= first:
        return [text]
    parts: list[str] = []
    start = used = 0
    room = first
    for begin, end, _size in split_graphemes(text)[0]:
        size = cell_len(text[begin:end])  # What is drawn counts: of stray joiners the splitter makes less.
        if used + size > room:
            parts.append(text[start:begin])
            start, used, room = begin, 0, width
        used += size
    parts.append(text[start:])
    return parts


class PlainFlow:
    """Plain text that grows at its end, cut into pieces; each `append` costs what it adds."""

    def __init__(self, width: int, cut: Callable[[str, int], list[Piece]] = wrap) -> None:
        self._width = width
        self._cut = cut
        self._settled: list[Piece] = []
        self._last, self._joint = "", ""

    def append(self, text: str) -> None:
        """Add text; tabs become four spaces, newlines begin a row."""
        first, *others = text.replace("\t", TAB).split("\n")
        self._grow(first)
        for line in others:
            self._settled.append((self._last_shown(), self._joint))
            self._last, self._joint = "", "\n"
            self._grow(line)

    def __len__(self) -> int:
        """Return the number of rows; the last one may still grow."""
        return len(self._settled) + 1

    def pieces(self, start: int = 0) -> list[Piece]:
        """Return the pieces from row `start` on."""
        return [*self._settled[start:], (self._last_shown(), self._joint)]

    def _grow(self, text: str) -> None:
        if not text:
            return
        raw = self._last + text
        pieces = self._cut(raw, self._width)
        for shown, joint in pieces[:-1]:
            self._settled.append((shown, self._joint + joint))
            self._joint = ""
        if len(pieces) > 1:
            consumed = sum(len(shown) + len(joint) for shown, joint in pieces[:-1]) + len(pieces[-1][1])
            self._joint = pieces[-1][1]
            raw = raw[consumed:]
        self._last = raw

    def _last_shown(self) -> str:
        return self._cut(self._last, self._width)[0][0]
