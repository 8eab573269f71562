"""Blocks of Markdown laid out as rows. What it needs of Pygments and the parser is loaded when first needed."""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len
from rich.style import Style

from tui.chat.clean import clean_line
from tui.widgets.transcript import formulas
from tui.widgets.transcript.blocks import FENCE, HEADING, ITEM, SETEXT, Block, split
from tui.widgets.transcript.colouring import coloured
from tui.widgets.transcript.inline import Line, inline, parser
from tui.widgets.transcript.palette import Palette
from tui.widgets.transcript.rows import BLANK, Row, prefixed, row, slice_spans, styled_rows
from tui.widgets.transcript.tables import table_of, table_rows
from tui.widgets.transcript.wrap import fold

_DEEPEST: Final = 6  # nesting of lists and quotes that is still drawn; a hostile text nests without end
_NARROWEST: Final = 16  # cells that lists and quotes need for their margins
_HIGHLIGHTED: Final = 40_000  # characters of code that are coloured at most (about 0.1 s)
_INDENT: Final = "  "  # before a displayed formula


class Formatter:
    """Lays out blocks at one width in one palette.

    Without `math`, formulas are shown as they are written.
    """

    def __init__(self, palette: Palette, width: int, *, math: bool = True) -> None:
        self.palette = palette
        self.width = max(width, 2)
        self._math = math

    def block(self, block: Block, width: int | None = None, depth: int = 0) -> list[Row]:
        """Return the rows of one block whose lines are clean, with a blank row before it if it asks for one."""
        width = self.width if width is None else width
        match block.kind:
            case "heading":
                rows = self._heading(block, width)
            case "rule":
                rows = [row("─" * width, self.palette.mark)]
            case "fence":
                rows = self._fence(block, width)
            case "code":
                rows = self._code("\n".join(line[4:] for line in block.lines), "", width)
            case "item" | "quote" if depth >= _DEEPEST or width < _NARROWEST:
                rows = [laid for line in block.lines for laid in styled_rows([(line, None)], width)]
            case "item":
                rows = self._item(block, width, depth)
            case "quote":
                rows = self._quote(block, width, depth)
            case "table":
                rows = self._table(block, width)
            case "formula":
                rows = self._formula(block, width)
            case _:
                rows = self._text(block, width)
        return [BLANK, *rows] if block.gap else rows

    def _inside(self, lines: list[str], width: int, depth: int) -> list[Row]:
        """Lay out the content of an item or a quote."""
        return [laid for block in split("\n".join(lines)) for laid in self.block(block, width, depth + 1)]

    def _paragraph(self, source: str, width: int, base: Style | None = None) -> list[Row]:
        return [
            laid for line in inline(source, self.palette, base, math=self._math) for laid in styled_rows(line, width)
        ]

    def _text(self, block: Block, width: int) -> list[Row]:
        lines = [line.strip(" ") for line in block.lines]
        if len(lines) > 1 and SETEXT.match(block.lines[-1]):
            return self._paragraph("\n".join(lines[:-1]), width, self.palette.heading)
        return self._paragraph("\n".join(lines), width)

    def _heading(self, block: Block, width: int) -> list[Row]:
        found = HEADING.match(block.lines[0])
        return self._paragraph((found and found["title"]) or "", width, self.palette.heading)

    def _formula(self, block: Block, width: int) -> list[Row]:
        """Lay out a displayed formula: over several lines where it has them and they fit, boxed where it is a box."""
        shown = formulas.displayed(block.lines) if self._math else None
        if shown is None:
            return [laid for line in block.lines for laid in styled_rows([(line.strip(" "), None)], width)]
        spans = [[(text, self.palette.boxed if boxed else None) for text, boxed in line] for line in shown.lines]
        flat: Line = [(text, self.palette.boxed if boxed else None) for text, boxed in shown.flat]
        size = cell_len("".join(text for text, _ in flat))
        if len(flat) == 1 and shown.flat[0][1] and size + len(_INDENT) + 4 <= width:
            mark = self.palette.mark
            bar = "─" * (size + 2)
            spans = [[(f"┌{bar}┐", mark)], [("│ ", mark), *flat, (" │", mark)], [(f"└{bar}┘", mark)]]
        elif not spans or shown.width + len(_INDENT) > width:
            spans = [flat]
        laid = [one for line in spans for one in styled_rows(line, max(width - len(_INDENT), 2))]
        return [prefixed(_INDENT, None, one) for one in laid]

    def _item(self, block: Block, width: int, depth: int) -> list[Row]:
        found = ITEM.match(block.lines[0])
        if found is None:
            return self._text(block, width)
        mark = " • " if block.number is None else f" {block.number}. "
        offset = found.end() if 1 <= len(found["space"]) <= 4 else found.end("marker") + 1
        lines = [block.lines[0][offset:], *(_dedented(line, offset) for line in block.lines[1:])]
        body = self._inside(lines, max(width - len(mark), 2), depth)
        blank = " " * len(mark)
        return [prefixed(mark if number == 0 else blank, self.palette.mark, laid) for number, laid in enumerate(body)]

    def _quote(self, block: Block, width: int, depth: int) -> list[Row]:
        lines = []
        for line in block.lines:
            bare = line.lstrip(" ")
            lines.append(bare[1:].removeprefix(" ") if bare.startswith(">") else bare)
        body = self._inside(lines, max(width - 2, 2), depth)
        return [prefixed("▌ ", self.palette.mark, laid) for laid in body]

    def _fence(self, block: Block, width: int) -> list[Row]:
        first, *code = block.lines
        opening = FENCE.match(first)
        indent = len(first) - len(first.lstrip(" "))
        marks = opening["marks"] if opening else "```"
        last = code.pop() if code and code[-1].strip(" ").startswith(marks) else None
        language = opening["info"].split()[0] if opening and opening["info"].strip() else ""
        dedented = [_dedented(line, indent) for line in code]
        rows = self.fence_rows(first, width)
        if code:
            rows += self._code("\n".join(dedented), language, width)
        return rows + (self.fence_rows(last, width) if last is not None else [])

    def fence_rows(self, line: str, width: int) -> list[Row]:
        """Return the rows of the line that opens or closes a fence."""
        return slice_spans([(line, self.palette.mark)], fold(line, width))

    def _code(self, code: str, language: str, width: int) -> list[Row]:
        lines = coloured(code, language, self.palette) if language and len(code) <= _HIGHLIGHTED else None
        lines = lines or [[(line, self.palette.code)] for line in code.split("\n")]
        return [laid for line in lines for laid in slice_spans(line, fold("".join(text for text, _ in line), width))]

    def _table(self, block: Block, width: int) -> list[Row]:
        tokens = parser(math=self._math).parse("\n".join(block.lines))
        table = table_of(tokens, self.palette)
        laid = table_rows(table, width, self.palette) if table is not None else None
        return self._source(block, width) if laid is None else laid

    def _source(self, block: Block, width: int) -> list[Row]:
        return [laid for line in block.lines for laid in slice_spans([(line, None)], fold(line, width))]


def one_line(text: str, width: int) -> str:
    """Return the text cleaned and cut to `width` cells, with … where something was cut."""
    line = clean_line(text)
    return line if cell_len(line) <= width else fold(line, max(width - 1, 2))[0][0] + "…"


def _dedented(line: str, most: int) -> str:
    """Return the line without its leading spaces, of which at most `most` go."""
    return line[min(most, len(line) - len(line.lstrip(" "))) :]
