"""What was recorded of a terminal, by `script` or a terminal's log, as the text that stood there.

Only what a line-by-line program does is followed: going back, going to the beginning, erasing to the end.
"""

from __future__ import annotations

import re
import unicodedata

_STEERS = re.compile(r"[\x08\r\x1b]")
_SEQUENCE = re.compile(
    r"\x1b\[(?P<numbers>[0-9;?=>]*)[ -/]*(?P<last>[@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # a window's title
    r"|\x1b[()*+][0-9A-Za-z]"
    r"|\x1b.?"
)
_WRAP = re.compile(r"\x1b\[K\r*\n")
"""How `ollama run` wraps at a word: it erases what has begun of it, and writes it again on the next line."""


def plain(text: str) -> str:
    """Return the text that was to be read."""
    text = text.replace("\r\n", "\n")
    if not _STEERS.search(text):
        return text
    return "\n".join(_line(line) for line in _WRAP.sub("\x1b[K", text).split("\n"))


def _line(line: str) -> str:
    if not _STEERS.search(line):
        return line
    there: list[str] = []
    cursor = place = 0
    while place < len(line):
        found = line[place]
        place += 1
        if found == "\x1b":
            sequence = _SEQUENCE.match(line, place - 1)
            place = sequence.end() if sequence else place
            cursor = _obey(there, cursor, sequence)
        elif found == "\r":
            cursor = 0
        elif found == "\x08":
            cursor = max(0, cursor - 1)
        else:
            there[cursor : cursor + 1] = [found]
            cursor += 1
    return "".join(there)


def _obey(there: list[str], cursor: int, sequence: re.Match[str] | None) -> int:
    """Do what a sequence says of its line; return where the cursor is then."""
    last = sequence["last"] if sequence else None
    if sequence is None or last not in {"C", "D", "G", "K"}:
        return cursor
    numbers = sequence["numbers"]
    amount = int(numbers) if numbers.isdecimal() and len(numbers) < 5 else 0
    match last:
        case "D":
            return _back(there, cursor, max(1, amount))
        case "C":
            return min(len(there), cursor + max(1, amount))
        case "G":
            return min(len(there), max(0, amount - 1))
    if amount == 0:
        del there[cursor:]
    elif amount == 2:
        there[:] = [" "] * cursor
    return cursor


def _back(there: list[str], cursor: int, columns: int) -> int:
    """Return where the cursor is so many columns to the left; a wide character takes two of them."""
    while columns > 0 and cursor > 0:
        cursor -= 1
        wide = cursor < len(there) and unicodedata.east_asian_width(there[cursor]) in {"W", "F"}
        columns -= 2 if wide else 1
    return cursor
