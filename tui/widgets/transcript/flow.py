"""An answer that grows: finished blocks are laid out once, and only the open one again and again."""

from __future__ import annotations

import re
from typing import Final

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.chat.clean import clean
from tui.widgets.transcript.blocks import FENCE, Splitter
from tui.widgets.transcript.markdown import Formatter
from tui.widgets.transcript.rows import BLANK, Row
from tui.widgets.transcript.wrap import TAB, PlainFlow, fold, wrap

_LONG: Final = 2_000  # characters of an open block that are formatted at each step at most (about 2 ms)

# An unfinished line that could still become anything: shown now, it would flash as a heading, a list or a fence.
_UNDECIDED: Final = re.compile(r" *(?:[-=*+_`~#>|:]*|\d+[.)]?) *$")


class RowFlow:
    """Plain text that grows, as rows: a settled row is made once."""

    def __init__(self, pieces: PlainFlow, style: Style | None, prefix: str = "") -> None:
        self.pieces = pieces
        self._style = style
        self._prefix = prefix
        self._settled: list[Row] = []

    def rows(self) -> list[Row]:
        """Return all rows."""
        done = len(self._settled)
        fresh = self._make(done)
        self._settled.extend(fresh[:-1])
        return [*self._settled, fresh[-1]]

    def tail(self, most: int) -> list[Row]:
        """Return the last rows, at most `most`; the window moves by half its height, so that few steps repaint it."""
        step = max(1, most // 2)
        hidden = -(-max(0, len(self.pieces) - most) // step) * step
        return self._make(hidden)

    def _make(self, start: int) -> list[Row]:
        prefix = self._prefix
        return [
            Row(Strip([Segment(prefix + shown, self._style)]), joint, len(prefix))
            for shown, joint in self.pieces.pieces(start)
        ]


class AnswerFlow:
    """The rows of an answer's Markdown, fed with what is new of its raw text."""

    def __init__(self, formatter: Formatter) -> None:
        self._formatter = formatter
        self._open = Formatter(formatter.palette, formatter.width, math=False)
        self._splitter = Splitter()
        self._closed: list[Row] = []
        self._line = ""
        self._held = ""
        self._plain: RowFlow | None = None
        self._plain_text = ""

    def append(self, raw: str) -> None:
        """Take in more raw text, in pieces of any length."""
        text = self._held + raw
        # A carriage return is cleaned together with the newline that may follow it.
        text, self._held = (text[:-1], "\r") if text.endswith("\r") else (text, "")
        *lines, self._line = (self._line + clean(text).replace("\t", TAB)).split("\n")
        for line in lines:
            for block in self._splitter.feed(line):
                self._closed += self._formatter.block(block)
                self._plain = None

    def finish(self) -> None:
        """Take what is there as the whole text."""
        if self._held:
            self._line, self._held = self._line + clean(self._held), ""
        blocks = [*self._splitter.feed(self._line), *self._splitter.finish()]
        for block in blocks:
            self._closed += self._formatter.block(block)
        self._line, self._plain = "", None

    def rows(self) -> list[Row]:
        """Return the rows of all that was taken in."""
        return self._closed + self._open_rows()

    def _open_rows(self) -> list[Row]:
        splitter = self._splitter
        if splitter.kind in {"fence", "table", "formula"} or sum(map(len, splitter.lines)) + len(self._line) > _LONG:
            return self._plain_rows()
        trial = splitter.copy()
        blocks = [] if _UNDECIDED.match(self._line) else trial.feed(self._line)
        return [laid for block in [*blocks, *trial.finish()] for laid in self._open.block(block)]

    def _plain_rows(self) -> list[Row]:
        """Return the open block as plain rows, which need no more than what was added."""
        splitter, formatter = self._splitter, self._formatter
        code = splitter.kind == "fence"
        opening = 1 if code and splitter.lines and FENCE.match(splitter.lines[0]) else 0
        # The lines of the block, and the line to come unless it may close the fence.
        lines = [*splitter.lines[opening:], *([self._line] if not _UNDECIDED.match(self._line) else [])]
        text = "\n".join(lines)
        if self._plain is None or not text.startswith(self._plain_text):
            style = formatter.palette.code if code else None
            self._plain, self._plain_text = (
                RowFlow(PlainFlow(formatter.width, fold if code else wrap), style),
                "",
            )
        self._plain.pieces.append(text[len(self._plain_text) :])
        self._plain_text = text
        gap = splitter.gap if splitter.kind else bool(self._closed)
        rows = [BLANK] if gap else []
        if opening:
            rows += formatter.fence_rows(splitter.lines[0], formatter.width)
        return rows + (self._plain.rows() if lines else [])
