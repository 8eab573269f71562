"""Growing text given out in whole lines: a screen reader reads them as they come, and none changes afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tui.chat.clean import clean

ENOUGH = 80
"""So many characters of a line have come before it is given out at the end of a sentence: "e.g." is none."""
MOST = 600
"""A line without an end of a sentence is given out at the last space before so many."""

_SENTENCE = re.compile(r"[.!?…][\"'”’)\]*_]*\s+(?=\S)|[。！？][”’」』）]*")
_FENCE = re.compile(r" {0,3}(```|~~~)")


class Aloud:
    """Takes text as it grows and gives out lines: of code whole ones only, of prose sentences too."""

    def __init__(self) -> None:
        self._rest = ""
        self._fence = ""
        self._begun = False

    def more(self, text: str) -> list[str]:
        """Take more text; return the lines that are complete now."""
        self._rest += text if self._begun else text.lstrip("\r\n")
        self._begun = self._begun or bool(self._rest)
        lines = []
        while "\n" in self._rest:
            line, _, self._rest = self._rest.partition("\n")
            self._look_at(line)
            lines.append(clean(line.removesuffix("\r")))
        if not self._fence:
            lines += [clean(part) for part in self._sentences()]
        return lines

    def end(self) -> list[str]:
        """Return what is left of it."""
        rest, self._rest = self._rest, ""
        return [clean(rest)] if rest.strip() else []

    def _sentences(self) -> Iterator[str]:
        while len(self._rest) >= ENOUGH and not _FENCE.match(self._rest) and not self._rest.startswith("|"):
            found = _SENTENCE.search(self._rest, ENOUGH - 1)
            end = found.end() if found is not None else self._rest.rfind(" ", 0, MOST) if len(self._rest) > MOST else 0
            if end <= 0:
                return
            said, self._rest = self._rest[:end], self._rest[end:].lstrip(" ")
            yield said.rstrip()

    def _look_at(self, line: str) -> None:
        found = _FENCE.match(line)
        if found is None:
            return
        if not self._fence:
            self._fence = found[1]
        elif self._fence == found[1]:
            self._fence = ""
