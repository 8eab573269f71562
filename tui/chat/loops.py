"""Noticing that a text goes round in circles: the same passages again and again, word for word or nearly so.

Two looks at the last passages, each blind where the other sees. Verbatim: the end of the text repeats with one period;
that is certain, and right for code and for words without spaces, but one changed number hides it. Reworded: nearly all
the latest word groups were said several times before; that forgives small changes, but only prose can be judged so,
since tables, code and lists are made of recurring word groups.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from typing import Final

# Characters between two looks: a look takes about 30 µs.
_STEP = 64

# Verbatim: how much text is kept, the end of it that is searched for, and how often a passage has to come (times) over
# how many characters. Text with many signs in it has to go on for longer: a matrix of zeros is no loop.
_KEPT = 4096
_NEEDLE = 24
_TIMES = 4
_PROSE_SPAN = 200
_SPAN = 600
_CANDIDATES = 6

# Reworded: a group is so many words in a row; so many words are remembered; a group counts as repeated when it was
# said so often; of the latest groups this share must be repeated to switch on, or no more than that to switch off.
_GROUP = 5
_WORDS = 1600
_LATEST = 60
_ON, _OFF = 0.6, 0.35
# A few words in changing order are a table of truth values or a rhyme: the verbatim look is for those.
_DISTINCT = 6

# Chinese, Japanese and Korean are written without spaces: a character is a word. It is slow to compile: not at start.
_WORD: Final = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_]+|\d+"
# What stands between the words of a table, of code, of data or of a formula, but not of prose.
_SIGNS = re.compile(r"[{}\[\]<>|_\\/=#@$%&+~^`]|[^\w\s.]\s?[^\w\s.]\s?[^\w\s.]|\n[ \t\-*]")


class Repetition:
    """Feed it a text as it grows. Its memory is bounded, and its cost per character does not depend on the length."""

    def __init__(self) -> None:
        self._text = ""
        self._fresh: list[str] = []
        self._fresh_size = 0
        self._period = 0
        self._verbatim = False
        self._reworded = False
        self._unread = ""
        self._last: tuple[str, ...] = ()
        self._odd = 0
        self._groups: deque[tuple[str, ...] | None] = deque()
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._latest: deque[bool] = deque(maxlen=_LATEST)

    @property
    def looping(self) -> bool:
        """Whether the text has been repeating itself lately."""
        return self._verbatim or self._reworded

    def feed(self, text: str) -> None:
        """Add the next piece of the text."""
        self._fresh.append(text)
        self._fresh_size += len(text)
        if self._fresh_size >= _STEP:
            self._look("".join(self._fresh))
            self._fresh.clear()
            self._fresh_size = 0

    def _look(self, fresh: str) -> None:
        # A piece may be of any size; one that is longer than all that is kept is looked at by its parts.
        for start in range(0, len(fresh), _KEPT // 4):
            part = fresh[start : start + _KEPT // 4]
            self._text = (self._text + part)[-_KEPT:]
            self._verbatim = self._repeats_verbatim()
            self._read(part)
            repeated = sum(self._latest)
            if self._reworded:
                self._reworded = repeated > _OFF * _LATEST
            elif repeated >= _ON * _LATEST:
                self._reworded = self._various()

    def _repeats_verbatim(self) -> bool:
        """Look for a period that the end of the text repeats with."""
        text = self._text
        if self._period and self._holds(self._period):
            return True
        needle, end = text[-_NEEDLE:], len(text) - 1
        for _ in range(_CANDIDATES):
            place = text.rfind(needle, 0, end)
            if place < 0:
                break
            self._period = len(text) - _NEEDLE - place
            if self._holds(self._period):
                return True
            end = place + _NEEDLE - 1
        self._period = 0
        return False

    def _holds(self, period: int) -> bool:
        text = self._text
        span = _span(text[-max(period, _NEEDLE) :])
        same = max(span - period, (_TIMES - 1) * period)
        return span > 0 and same + period <= len(text) and text[-same:] == text[-same - period : -period]

    def _read(self, text: str) -> None:
        """Count the groups of the words that are complete."""
        text = self._unread + text
        end = 0
        for match in re.finditer(_WORD, text):
            if match.end() == len(text):
                break  # It may go on in the next piece.
            gap, end = text[end : match.start()], match.end()
            self._take(match[0], gap)
        # A gap is judged as a whole, but no gap is worth keeping at any length.
        self._unread = text[end:][-_KEPT:]

    def _take(self, word: str, gap: str) -> None:
        """Count the group that ends with `word`, which comes after `gap`. One that is no prose says nothing."""
        self._last = (*self._last, word)[-_GROUP:]
        self._odd = _GROUP - 1 if _is_odd(gap, word) else self._odd - 1
        group = None if self._odd > 0 or len(self._last) < _GROUP else self._last
        self._groups.append(group)
        if group is not None:
            self._counts[group] += 1
        self._latest.append(group is not None and self._counts[group] >= _TIMES)
        if len(self._groups) > _WORDS:
            old = self._groups.popleft()
            if old is not None:
                self._counts[old] -= 1
                if not self._counts[old]:
                    del self._counts[old]

    def _various(self) -> bool:
        """Whether the latest groups have several different words."""
        words = {word for group in list(self._groups)[-_LATEST:] if group is not None for word in group}
        return len(words) >= _DISTINCT


def _is_odd(gap: str, word: str) -> bool:
    """Whether a word stands behind its predecessor as it does not in prose."""
    if gap == " ":
        return False
    if _SIGNS.search(gap):
        return True
    wide = word >= "\u3000" or gap[-1:] >= "\u3000"
    return not wide and gap not in {"'", "’", "-"} and not any(map(str.isspace, gap))


def _span(passage: str) -> int:
    """Return over how many characters a passage must be repeated, 0 if its repetition means nothing, as of a ruler."""
    letters = sum(map(str.isalpha, passage))
    if 5 * letters < len(passage):
        return 0
    return _PROSE_SPAN if letters + passage.count(" ") >= 0.9 * len(passage) else _SPAN
