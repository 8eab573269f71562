"""The code blocks of a message: what each holds as it was written, and which one the reader sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from tui.chat.clean import clean
from tui.widgets.transcript.blocks import FENCE, ITEM, Block, split
from tui.widgets.transcript.layout import EntryLayout
from tui.widgets.transcript.markdown import Formatter
from tui.widgets.transcript.wrap import TAB

_DEEPEST = 6  # lists in lists that are looked into


class Code(msgspec.Struct, frozen=True):
    """One code block: its lines without the fence, the language that is named, and the outermost block it is in."""

    text: str
    language: str
    block: int


def code_blocks(text: str) -> list[Code]:
    """Return the code blocks of a message's Markdown in their order; tabs stay tabs."""
    cleaned = clean(text)
    blocks = split(cleaned.replace("\t", TAB))
    found = [Code("\n".join(lines), language, at) for at, block in enumerate(blocks) for lines, language in _of(block)]
    return _with_tabs(found, cleaned.split("\n")) if "\t" in cleaned else found


def seen_code(layout: EntryLayout, formatter: Formatter, top: int, rows: int) -> int:
    """Return which code block of an entry is the first in view, the first of all where none is.

    The view begins at the entry's row `top` and has so many `rows`.
    """
    text = clean(layout.entry.text).replace("\t", TAB)
    numbers: dict[int, int] = {}
    for number, code in enumerate(code_blocks(text)):
        numbers.setdefault(code.block, number)
    end = layout.body_row
    for at, block in enumerate(split(text)):
        begin, end = end, end + len(formatter.block(block))
        if begin >= top + rows:
            break
        if end > top and at in numbers:
            return numbers[at]
    return 0


def _of(block: Block, depth: int = 0) -> Iterator[tuple[list[str], str]]:
    """Yield the lines and the language of each code block in a block."""
    first = block.lines[0]
    match block.kind:
        case "code":
            yield [line[4:] for line in block.lines], ""
        case "fence":
            yield _inside_fence(block.lines)
        case "item" if depth < _DEEPEST and (item := ITEM.match(first)):
            width = item.end() if 1 <= len(item["space"]) <= 4 else item.end("marker") + 1
            yield from _inside([first[width:], *(_dedented(line, width) for line in block.lines[1:])], depth)
        case "quote" if depth < _DEEPEST:
            yield from _inside([line.lstrip(" ").removeprefix(">").removeprefix(" ") for line in block.lines], depth)


def _inside(lines: Sequence[str], depth: int) -> Iterator[tuple[list[str], str]]:
    for block in split("\n".join(lines)):
        yield from _of(block, depth + 1)


def _inside_fence(lines: Sequence[str]) -> tuple[list[str], str]:
    opening = FENCE.match(lines[0])
    marks, info = (opening["marks"], opening["info"].split()) if opening else ("```", [])
    indent = len(lines[0]) - len(lines[0].lstrip(" "))
    code = [_dedented(line, indent) for line in lines[1:]]
    if code and code[-1].strip(" ").startswith(marks):
        code.pop()
    return code, info[0] if info else ""


def _dedented(line: str, most: int) -> str:
    return line[min(most, len(line) - len(line.lstrip(" "))) :]


def _with_tabs(found: Sequence[Code], source: Sequence[str]) -> list[Code]:
    """Put the lines as they were written in the place of those with spaces for tabs."""
    expanded = [line.replace("\t", TAB) for line in source]
    put_back, start = [], 0
    for code in found:
        lines = code.text.split("\n")
        at = next((n for n in range(start, len(source)) if _same(expanded[n : n + len(lines)], lines)), None)
        if at is None:
            put_back.append(code)
            continue
        start = at + len(lines)
        written = [_from_column(source[at + n], len(expanded[at + n]) - len(line)) for n, line in enumerate(lines)]
        put_back.append(msgspec.structs.replace(code, text="\n".join(written)))
    return put_back


def _same(expanded: Sequence[str], lines: Sequence[str]) -> bool:
    return len(expanded) == len(lines) and all(map(str.endswith, expanded, lines))


def _from_column(line: str, column: int) -> str:
    """Return a line from a column on, where a tab is as wide as the spaces that it was shown as."""
    while column > 0 and line:
        if line[0] == "\t" and column < len(TAB):
            return " " * (len(TAB) - column) + line[1:]
        column -= len(TAB) if line[0] == "\t" else 1
        line = line[1:]
    return line
