"""How text and what is searched for become words, and where in a text the words are.

Scripts written without spaces are searched by single characters, since a word of them has no border that could be
looked up. SQLite's own `unicode61` does the rest; its tables are the same in every version, unlike Python's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

from tui.chat.clean import clean_line
from tui.chat.storing.stored import storable

SNIPPET_CHARACTERS = 160
_LEAD = 48
_SINGLE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u30ff\u3100-\u318f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc"
)
# Emoji are no words to `unicode61`, rare Han unknown to its Unicode 6.1: each becomes one that spells its number.
_FAR = "\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0003ffff"
_WORD: Final = rf"(?:(?![{_SINGLE}{_FAR}])[^\W_])"
_ALONE: Final = f"[{_SINGLE}]"
_FAR_ALONE: Final = f"[{_FAR}]"
_TOKENS: Final = f"[{_SINGLE}{_FAR}]|{_WORD}+"
_TERMS: Final = re.compile(r'"([^"]*)"?|([^\s"]+)')
_FOLDED_BELOW = 0x2000


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile when it is first needed: at the start of the program all of them would cost 7 ms."""
    return re.compile(pattern)


class Pattern(NamedTuple):
    """What finds a term: begins with a letter of it, so that a search is fast; if `bounded`, only where a word does."""

    finds: re.Pattern[str]
    bounded: bool


class Term(NamedTuple):
    """One thing to find: a word, of which the beginning is enough, or, `exact`, a phrase."""

    text: str
    exact: bool

    @property
    def tokens(self) -> list[str]:
        return _compiled(_TOKENS).findall(fold(self.text))

    @property
    def open(self) -> bool:
        """Whether words that only begin so are meant. One letter begins too many, and a single character is whole."""
        tokens = self.tokens
        return not self.exact and bool(tokens) and len(tokens[-1]) > 1


class Snippet(NamedTuple):
    """A line around what was found; `marks` are the found parts of it, from and until."""

    text: str
    marks: tuple[tuple[int, int], ...]


def split(text: str) -> str:
    """Return `text` for the index: characters of scripts without spaces stand alone."""
    if text.isascii():
        return text.replace("\x00", " ")
    text = _compiled(_ALONE).sub(r" \g<0> ", text.replace("\x00", " "))
    return _compiled(_FAR_ALONE).sub(lambda found: f" u{ord(found[0]):x} ", text)


def terms(text: str) -> list[Term]:
    """Return what somebody looks for: words, and phrases in quotes (a last quote may be missing). No empty ones."""
    text = re.sub("[“”„]", '"', storable(text))
    found = (Term(match[1] or match[2] or "", match[2] is None) for match in _TERMS.finditer(text))
    return [term for term in found if term.tokens]


def query(wanted: list[Term], chat: str | None = None) -> str:
    """Return the FTS5 expression for all of `wanted`, in one chat or in any. Nothing in it is an operator of theirs.

    The index takes an id for words: another chat's may hold the same ones, and one of signs alone has none.
    """
    words = " AND ".join(_quoted(split(term.text)) + ("*" if term.open else "") for term in wanted)
    within = f"chat : {_quoted(chat)} AND " if chat is not None and _compiled(_WORD).search(chat) else ""
    return f"{within}{{text reasoning}} : ({words})"


def patterns(wanted: list[Term]) -> list[Pattern]:
    """Return what finds each of `wanted` in a folded text, as the index does."""
    made = []
    for term in wanted:
        tokens = term.tokens
        after = "" if term.open or not _compiled(_WORD).match(tokens[-1]) else rf"(?!{_WORD})"
        finds = re.compile(re.escape(tokens[0]) + "".join(map(_next, tokens[1:])) + after)
        made.append(Pattern(finds, _compiled(_WORD).match(tokens[0]) is not None))
    return made


def starts(text: str, wanted: list[Pattern]) -> list[int]:
    """Return where those of `wanted` that are in a text are first."""
    folded = fold(text)
    firsts = (next(_spans(folded, pattern), None) for pattern in wanted)
    return [first[0] for first in firsts if first is not None]


def snippet(text: str, found: list[int], wanted: list[Pattern]) -> Snippet:
    """Return the line around the first place `found` in a text, or its beginning, harmless for a terminal."""
    first = min(found, default=0)
    start = 0 if first <= _LEAD else _word_start(text, first - _LEAD, first)
    cut = clean_line(text[start : start + SNIPPET_CHARACTERS * 2]).strip()
    before, after = "…" if start else "", ""
    if len(cut) > SNIPPET_CHARACTERS or start + SNIPPET_CHARACTERS * 2 < len(text):
        cut, after = cut[:SNIPPET_CHARACTERS].rstrip(), "…"
    line = before + cut + after
    return Snippet(line, marks(line, wanted))


def marks(line: str, wanted: list[Pattern]) -> tuple[tuple[int, int], ...]:
    """Return where in a line `wanted` are, in order and never one over another."""
    folded = fold(line)
    merged: list[tuple[int, int]] = []
    for low, high in sorted(span for pattern in wanted for span in _spans(folded, pattern)):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def fold(text: str) -> str:
    """Return `text` without case and accents, each character where it was."""
    return text.lower() if text.isascii() else text.translate(_FOLDS)


class _Folds(dict[int, int]):
    """The folded form of each character, worked out when it is first met."""

    def __missing__(self, code: int) -> int:
        character = chr(code)
        base = unicodedata.normalize("NFD", character)[0] if code < _FOLDED_BELOW else character
        folded = self[code] = ord(base.lower()[0])
        return folded


_FOLDS: Final = _Folds()


def _spans(folded: str, pattern: Pattern) -> Iterator[tuple[int, int]]:
    at = 0
    while (match := pattern.finds.search(folded, at)) is not None:
        low, at = match.span()
        if pattern.bounded and low and _compiled(_WORD).match(folded, low - 1):
            at = low + 1
        else:
            yield low, at


def _word_start(text: str, low: int, high: int) -> int:
    """Return where the first word after `low` begins, or `low` if none does before `high`."""
    space = re.compile(r"\s+").search(text, low, high)
    return space.end() if space is not None else low


def _next(token: str) -> str:
    """Return what finds a token and what stands before it: never the token itself, or a row of emoji takes for ever."""
    escaped = re.escape(token)
    return (r"[\W_]*" if _compiled(_WORD).match(token) else rf"(?:(?!{escaped})[\W_])*") + escaped


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
