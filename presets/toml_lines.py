"""Where the keys of a TOML text stand, which the standard parser does not tell, and where it stopped.

But for `refusal` the text must already have been accepted by `tomllib`: this scanner knows tables, keys and where
values end, and checks nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable

import msgspec

Key = tuple[str, ...]

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_REFUSED_AT = re.compile(r" \((?:at line (\d+), column \d+|at end of document)\)$")
_SCALAR = re.compile(r"[^,\]}#\n]+")


class Pair(msgspec.Struct, frozen=True):
    """A `key = value` of a text, by its path: where the key begins, and where the value begins and ends."""

    key: Key
    start: int
    value: int
    end: int


class Section(msgspec.Struct, frozen=True):
    """A table with a header of its own, or with an empty path what stands before the first one.

    `start` and `body` are where its header begins and ends; `pairs` are those directly in it.
    """

    table: Key
    start: int
    body: int
    pairs: tuple[Pair, ...]


def sections(text: str) -> tuple[Section, ...]:
    """Return the tables of a text in their order, the first always that without a header."""
    scanner = _Scanner(text)
    scanner.document()
    return tuple(Section(table, start, body, tuple(pairs)) for table, start, body, pairs in scanner.sections)


def key_lines(text: str) -> dict[Key, int]:
    """Return the line (from 1) of every table and key, by its path; the first place where it occurs."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def line_of(lines: dict[Key, int], key: Key) -> int | None:
    """Return the line of `key`, or of the nearest table around it that has one."""
    return next((lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in lines), None)


def line_in_list(text: str, key: Key) -> int | None:
    """Return the line of a key in one of several tables of the same name: ("rules", "1", "type") is in the second.

    Where such a table has no header of its own, it is the line of the list.
    """
    table, number, inner = key[:1], int(key[1]), key[2:]
    found = [section for section in sections(text) if section.table == table]
    if number >= len(found):
        return line_of(key_lines(text), table)
    section = found[number]
    starts = [pair.start for pair in section.pairs if pair.key == (*table, *inner)]
    return text.count("\n", 0, (starts or [section.start])[0]) + 1


def refusal(error: Exception, text: str) -> tuple[str, int | None]:
    """Return what `tomllib` says of a text that it refused, and the line (from 1) if it names one.

    Only a line feed ends a line: other characters that Python ends lines at may stand inside of one.
    """
    said = str(error)
    found = _REFUSED_AT.search(said)
    if found is None:
        return said, None
    return said[: found.start()], int(found[1]) if found[1] else text.removesuffix("\n").count("\n") + 1


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Key, int] = {}
        self.sections: list[tuple[Key, int, int, list[Pair]]] = [((), 0, 0, [])]
        self._counted = (0, 1)

    def document(self) -> None:
        table: Key = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self._here("["):
                start = self.at
                while self._here("["):
                    self.at += 1
                table = self._key((), start)
                while self._here("]"):
                    self.at += 1
                self.sections.append((table, start, self.at, []))
            else:
                self.sections[-1][3].append(self._pair(table))
            before = self.at
            self._skip(_BLANK)
            if self.at == before and self.at < len(self.text) and not self._here("["):
                # Never stand still, whatever the text.
                self.at = max(self.at + 1, self.text.find("\n", self.at))

    def _pair(self, table: Key) -> Pair:
        start = self.at
        key = self._key(table, self.at)
        self._skip(_SPACE)
        if self._here("="):
            self.at += 1
        self._skip(_SPACE)
        value = self.at
        self._value(key)
        # A number or a date runs on to the comment behind it.
        end = value + len(self.text[value : self.at].rstrip())
        return Pair(key, start, value, end)

    def _key(self, table: Key, start: int) -> Key:
        line = self._line(start)
        key = table
        while True:
            self._skip(_SPACE)
            found = _BARE.match(self.text, self.at) or _STRING.match(self.text, self.at)
            if found is None:
                return key
            self.at = found.end()
            key = (*key, _unquoted(found.group()))
            self.lines.setdefault(key, line)
            self._skip(_SPACE)
            if not self._here("."):
                return key
            self.at += 1

    def _value(self, key: Key) -> None:
        found = _STRING.match(self.text, self.at)
        if found:
            self.at = found.end()
        elif self._here("["):
            self._items("]", lambda: self._value(key))
        elif self._here("{"):
            self._items("}", lambda: self._pair(key))
        else:
            self._skip(_SCALAR)

    def _items(self, end: str, item: Callable[[], object]) -> None:
        self.at += 1
        self._skip(_BLANK)
        while self.at < len(self.text) and not self._here(end):
            before = self.at
            item()
            self._skip(_BLANK)
            if self._here(","):
                self.at += 1
                self._skip(_BLANK)
            elif self.at == before:
                self.at += 1
        self.at += 1

    def _here(self, character: str) -> bool:
        return self.text.startswith(character, self.at)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()

    def _line(self, position: int) -> int:
        counted, line = self._counted
        line += self.text.count("\n", counted, position)
        self._counted = (position, line)
        return line


def _unquoted(key: str) -> str:
    if key[0] not in "\"'":
        return key
    return str(tomllib.loads(f"k = {key}")["k"])
