"""Markdown cut into blocks, line by line, so that a finished block is formatted once and never looked at again.

It follows CommonMark where a block begins and ends, with two liberties that the habits of models ask for: each item of
a list is a block of its own, and a fence inside an item is not ended by lines that forgot their indent.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from tui.widgets.transcript import formulas

Kind = Literal["text", "heading", "rule", "quote", "item", "fence", "code", "table", "formula"]


class Block(msgspec.Struct, frozen=True):
    """One block and its source lines. `number` counts ordered items; `gap` asks for a blank row before it."""

    kind: Kind
    lines: tuple[str, ...]
    number: int | None = None
    gap: bool = False


FENCE: Final = re.compile(r" {0,3}(?P<marks>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)$")
ITEM: Final = re.compile(r"(?P<indent> {0,3})(?P<marker>[-+*]|(?P<number>\d{1,9})[.)])(?P<space> +|$)")
HEADING: Final = re.compile(r" {0,3}(?P<marks>#{1,6})(?: +(?P<title>.*?))?(?: +#+)? *$")
SETEXT: Final = re.compile(r" {0,3}(?:=+|-+) *$")
_RULE: Final = re.compile(r" {0,3}([-*_])(?: *\1){2,} *$")
_QUOTE: Final = re.compile(r" {0,3}>")
_DELIMITER_ROW: Final = re.compile(r" {0,3}(?=.*\|)\|? *:?-+:? *(?:\| *:?-+:? *)*\|? *$")
_HIGHEST: Final = 60  # lines of a formula; one without an end is not waited for any longer
_NESTED_FENCE: Final = re.compile(r" *(?:(?:[-+*]|\d{1,9}[.)]) +)*(?P<marks>`{3,}(?=[^`]*$)|~{3,})")


class Splitter:
    """The one pass over the lines; `feed` and `finish` return the blocks that have just ended."""

    def __init__(self) -> None:
        self.kind: Kind | None = None
        self.lines: list[str] = []
        self._number: int | None = None
        self._last_number: int | None = None
        self.gap = False
        self._indent = 0
        self._marks = ""
        self._blanks = 0
        self._before: Kind | None = None
        self._end = ""
        self._no_formula = False

    def feed(self, line: str) -> list[Block]:
        """Take one whole line, without its newline and with its tabs expanded."""
        if self._marks:
            return self._inside_fence(line)
        if self._end:
            return self._inside_formula(line)
        if not line.strip():
            return self._blank()
        match self.kind:
            case "item":
                return self._after_item(line)
            case "text" | "quote" | "table" | "code":
                return self._after_text(line)
            case _:
                return self._open(line)

    def finish(self) -> list[Block]:
        """End the text: whatever is open ends with it."""
        given_up = self._give_up() if self._end else []
        return [*given_up, *self._close()]

    def copy(self) -> Splitter:
        """Return a splitter in the same state, to try out what an unfinished line would mean."""
        twin = Splitter()
        twin.__dict__.update(self.__dict__)
        twin.lines = list(self.lines)
        return twin

    def _inside_fence(self, line: str) -> list[Block]:
        self.lines.append(line)
        if not _closes(line, self._marks):
            return []
        self._marks = ""
        return self._close() if self.kind == "fence" else []

    def _inside_formula(self, line: str) -> list[Block]:
        if not line.strip() or len(self.lines) >= _HIGHEST:
            return [*self._give_up(), *self.feed(line)]
        self.lines.append(line)
        if not formulas.closes(line, self._end, first=False):
            return []
        self._end = ""
        return self._close()

    def _give_up(self) -> list[Block]:
        """Take the lines of a formula without an end as what they are else."""
        lines, self.kind, self.lines, self._end, self._no_formula = self.lines, None, [], "", True
        self._blanks = int(self.gap)
        return [block for line in lines for block in self.feed(line)]

    def _blank(self) -> list[Block]:
        self._blanks += 1
        self._no_formula = False
        return [] if self.kind == "item" else self._close()

    def _after_item(self, line: str) -> list[Block]:
        indent = len(line) - len(line.lstrip(" "))
        nested = indent >= self._indent + 2
        lazy = not self._blanks and not _begins(line) and not ITEM.match(line)
        if not nested and not lazy:
            return [*self._close(), *self._open(line)]
        self.lines.extend([""] * self._blanks)
        self.lines.append(line)
        self._blanks = 0
        if nested and (fence := _NESTED_FENCE.match(line)):
            self._marks = fence["marks"]
        return []

    def _after_text(self, line: str) -> list[Block]:
        if self.kind == "text":
            if "|" in self.lines[-1] and _DELIMITER_ROW.match(line):
                return self._turn_to_table(line)
            if SETEXT.match(line):
                self.lines.append(line)
                return self._close()
        stays = _QUOTE.match(line) if self.kind == "quote" else self.kind == "code" and line.startswith("    ")
        item = ITEM.match(line)
        listing = item and item["space"] and item["number"] in {None, "1"}
        begun = self.kind == "text" and self._formula_end(line)
        if not stays and (_begins(line) or listing or begun or self.kind == "code"):
            return [*self._close(), *self._open(line)]
        self.lines.append(line)
        return []

    def _turn_to_table(self, line: str) -> list[Block]:
        header = self.lines.pop()
        closed = self._close() if self.lines else []
        self.kind, self.lines, self.gap = "table", [header, line], self._before is not None
        return closed

    def _open(self, line: str) -> list[Block]:
        blanks, self._blanks = self._blanks, 0
        self.kind, self.lines, self._number = _kind_of(line), [line], None
        if self.kind == "item":
            self._open_item(line)
        elif self.kind == "text" and (end := self._formula_end(line)):
            self.kind, self._end = "formula", "" if formulas.closes(line, end, first=True) else end
        elif self.kind == "fence" and (fence := FENCE.match(line)):
            self._marks = fence["marks"]
        self.gap = self._before is not None and (
            blanks > 0 or self.kind == "heading" or self._before in {"table", "rule"} or self.kind == "rule"
        )
        closed = self.kind in {"heading", "rule"} or (self.kind == "formula" and not self._end)
        return self._close() if closed else []

    def _formula_end(self, line: str) -> str | None:
        return None if self._no_formula else formulas.opened(line)

    def _open_item(self, line: str) -> None:
        found = ITEM.match(line)
        if found is None:
            return
        self._indent = len(found["indent"])
        if found["number"]:
            # Lists that say 1. 1. 1. are counted; a list that goes on after a code block keeps its own numbers.
            following = self._last_number + 1 if self._before == "item" and self._last_number is not None else 0
            self._number = max(int(found["number"]), following)
        if fence := _NESTED_FENCE.match(line):
            self._marks = fence["marks"]

    def _close(self) -> list[Block]:
        if self.kind is None:
            return []
        block = Block(self.kind, tuple(self.lines), self._number, self.gap)
        self._last_number = self._number
        self._before, self.kind, self.lines, self._marks = self.kind, None, [], ""
        return [block]


def split(text: str) -> list[Block]:
    """Return the blocks of a whole text, whose tabs are expanded."""
    splitter = Splitter()
    blocks = [block for line in text.split("\n") for block in splitter.feed(line)]
    return blocks + splitter.finish()


def _kind_of(line: str) -> Kind:
    if line.startswith("    "):
        return "code"
    if FENCE.match(line):
        return "fence"
    if HEADING.match(line):
        return "heading"
    if _RULE.match(line):
        return "rule"
    if _QUOTE.match(line):
        return "quote"
    return "item" if ITEM.match(line) else "text"


def _begins(line: str) -> bool:
    """Say whether a line begins a block of its own even right after text."""
    return bool(FENCE.match(line) or HEADING.match(line) or _RULE.match(line) or _QUOTE.match(line))


def _closes(line: str, marks: str) -> bool:
    end = line.strip(" ")
    return len(end) >= len(marks) and set(end) == {marks[0]}
