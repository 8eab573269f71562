"""What comes from the terminal, told apart: keys, pasted text, an answer of the terminal, and what nobody asked for.

Text is pasted where the terminal says so by brackets, and where it says nothing, but more comes at once than anybody
types: many lines in one burst. Such a burst sends nothing. Single keys are never held back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

PASTE_CHARACTERS = 1_000_000
"""More of one paste is cut off."""
SILENCE_S = 1.0
"""After so long what has no end is taken as ended: a paste, a string that a terminal sends."""
BURST_CHARACTERS = 8
"""More than these at once, and nobody has typed them: there may be more on the way."""
LINE_CHARACTERS = 64
"""More than these in one line at once are one paste, rather than as many keys."""
STRING_BYTES = 64 * 1024

_END = "\x1b[201~"
_TEXT = r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]+"
_TOKEN = re.compile(
    r"(?P<paste>\x1b\[200~)"
    r"|(?P<string>\x1b(?:\](?=\d)|P(?=[\d>!$+])|_(?=G)))"
    r"|(?P<answer>\x1b\[0n)"
    r"|(?P<reply>\x1b\[[?>=][\d;:]*[ -/]*[@-~](?<!\$y))"
    r"|(?P<open>\x1b(?:\[(?:M.{0,2}|[0-?]*[ -/]*)|[O\]P_])?\Z)"
    r"|(?P<sequence>\x1b(?:\[(?:M...|[0-?]*[ -/]*[@-~])|O.|[^\x1b\[O]))"
    rf"|(?P<text>{_TEXT})"
    r"|(?P<other>.)",
    re.DOTALL,
)
_STRING_END = re.compile(r"\x07|\x1b\\|[\x18\x1a]|\x1b(?=[^\\])")
_INNER_NEWLINE = re.compile(r"[\r\n](?=[^\r\n])")
_NO_TEXT = {code: None for code in (*range(32), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


class Typed(NamedTuple):
    """Keys, as the terminal sends them."""

    text: str


class Pasted(NamedTuple):
    """Text that belongs together, its lines parted by newlines; `cut` says that there was more of it."""

    text: str
    cut: bool = False


class Answered(NamedTuple):
    """The terminal has come to the place where it was asked to answer: it has drawn all that was written before."""


class Afresh(NamedTuple):
    """What was given as keys last was the beginning of something else: forget it."""


Piece = Typed | Pasted | Answered | Afresh


class Incoming:
    """The state between one read and the next. Times are seconds of any clock that only goes forward.

    `hold_s` is how long a burst is waited for to go on, `escape_s` the rest of a key.
    """

    def __init__(self, hold_s: float, escape_s: float) -> None:
        self._hold_s, self._escape_s = hold_s, escape_s
        self._inside = ""  # "paste", "string"
        self._open = ""  # the beginning of a sequence, given as keys already
        self._tail = ""  # what may be the beginning of an end
        self._pasted: list[str] = []
        self._length = 0
        self._burst = ""
        self._burst_until = 0.0
        self._last = self._pasted_at = float("-inf")

    def feed(self, text: str, now: float) -> Iterator[Piece]:
        """Take what was read; yield what it is."""
        if now - self._last > self._escape_s:
            self._open = ""
        self._last = now
        large = len(text) > BURST_CHARACTERS
        while text:
            match self._inside:
                case "paste":
                    text, pieces = self._in_paste(text)
                case "string":
                    text, pieces = self._in_string(text)
                case _:
                    text, pieces = self._plain(text)
            yield from pieces
        if not self._burst:
            return
        if len(self._burst) <= BURST_CHARACTERS:
            yield from self._end_burst()
        elif large or not self._burst_until:
            self._burst_until = now + self._hold_s

    def tick(self, now: float) -> Iterator[Piece]:
        """Yield what has been waited for long enough."""
        if self._burst and now >= self._burst_until:
            yield from self._end_burst()
        if self._inside and now >= self._last + SILENCE_S:
            if self._inside == "paste":
                yield self._end_paste(self._tail)
            self._inside = self._tail = ""

    def wait_s(self, now: float) -> float | None:
        """Return in how many seconds `tick` has something to do, None if never."""
        if self._burst:
            return max(0.0, self._burst_until - now)
        return max(0.0, self._last + SILENCE_S - now) if self._inside else None

    def _plain(self, text: str) -> tuple[str, list[Piece]]:
        """Take text up to the begin of a paste or a string; return what is left."""
        given, text, self._open = len(self._open), self._open + text, ""
        pieces: list[Piece] = []
        for token in _TOKEN.finditer(text):
            kind, new = token.lastgroup, text[max(token.start(), given) : token.end()]
            if kind == "text":
                if len(self._burst) <= PASTE_CHARACTERS:
                    self._burst += new
                continue
            if self._burst:
                pieces += self._end_burst()
            if kind in {"paste", "string", "answer", "reply"} and token.start() < given:
                pieces.append(Afresh())
            if kind == "answer":
                pieces.append(Answered())
            elif kind in {"paste", "string"}:
                self._inside, self._length = kind, 0
                return text[token.end() :], pieces
            elif kind != "reply":
                pieces.append(Typed(new))
                self._open = token[0] if kind == "open" else ""
        return "", pieces

    def _in_paste(self, text: str) -> tuple[str, list[Piece]]:
        text = self._tail + text
        at = text.find(_END)
        if at < 0:
            self._keep(text[: 1 - len(_END)])
            self._tail = text[1 - len(_END) :]
            return "", []
        self._tail = self._inside = ""
        return text[at + len(_END) :], [self._end_paste(text[:at])]

    def _keep(self, text: str) -> None:
        left = PASTE_CHARACTERS - sum(map(len, self._pasted))
        self._pasted.append(text[:left])
        self._length += len(text)

    def _end_paste(self, last: str) -> Pasted:
        self._keep(last)
        text, cut = "".join(self._pasted), self._length > PASTE_CHARACTERS
        self._pasted.clear()
        return _pasted(text, cut=cut)

    def _in_string(self, text: str) -> tuple[str, list[Piece]]:
        text = self._tail + text
        end = _STRING_END.search(text)
        if end is None:
            self._tail = text[-1:] if text.endswith("\x1b") else ""
            self._length += len(text)
            if self._length > STRING_BYTES:
                self._inside = self._tail = ""
            return "", []
        self._inside = self._tail = ""
        # Another sequence begins inside of it: that one counts.
        return text[end.start() if end[0] == "\x1b" else end.end() :], []

    def _end_burst(self) -> list[Piece]:
        """Say what a burst is, now that it is whole."""
        burst, self._burst, self._burst_until = self._burst, "", 0.0
        goes_on = self._last - self._pasted_at <= SILENCE_S and len(burst) > BURST_CHARACTERS
        if _INNER_NEWLINE.search(burst) or (goes_on and ("\r" in burst or "\n" in burst)):
            self._pasted_at = self._last
            return [_pasted(burst[:PASTE_CHARACTERS], cut=len(burst) > PASTE_CHARACTERS)]
        line = burst.rstrip("\r\n")
        if len(line) <= LINE_CHARACTERS or len(set(line)) == 1:  # A key held down comes in bursts, too.
            return [Typed(burst)]
        enters = burst[len(line) :]
        return [_pasted(line, cut=False), *([Typed(enters)] if enters else [])]


def _pasted(text: str, *, cut: bool) -> Pasted:
    return Pasted(text.replace("\r\n", "\n").replace("\r", "\n").translate(_NO_TEXT), cut)
