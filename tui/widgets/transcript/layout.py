"""One entry laid out as rows: title, thought, text, footnote and the blank row after it."""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip

from tui.chat.clean import clean
from tui.widgets.transcript.flow import AnswerFlow, RowFlow
from tui.widgets.transcript.markdown import Formatter, one_line
from tui.widgets.transcript.model import Entry
from tui.widgets.transcript.rows import BLANK, Row, row
from tui.widgets.transcript.wrap import PlainFlow

THOUGHT_TAIL: Final = 6  # rows of a running thought
_SIGNS: Final = {"": "", "info": "· ", "warning": "! ", "error": "✗ "}


class EntryLayout:
    """The rows of one entry, made when they are needed and dropped when they are far from the view.

    While the entry is live, what is new of its text and reasoning is added to what is laid out already. `body_row` is
    where its text begins.
    """

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.rows: list[Row] | None = None
        self.height: int | None = None
        self.unfolded = False
        self.body_row = 0
        self._answer: AnswerFlow | None = None
        self._thought: RowFlow | None = None

    @property
    def thought_row(self) -> int | None:
        """The row of the thought's summary, or None where there is no thought."""
        return (1 if self.entry.title else 0) if self.entry.reasoning or self.entry.thought else None

    def update(self, entry: Entry) -> None:
        """Take the entry's new value; `lay` must follow before the rows are read again."""
        old, self.entry = self.entry, entry
        grown = old.live and entry.role == old.role
        if self._answer is not None and grown and entry.text.startswith(old.text):
            self._answer.append(entry.text[len(old.text) :])
        else:
            self._answer = None
        if self._thought is not None and grown and entry.reasoning.startswith(old.reasoning):
            self._thought.pieces.append(clean(entry.reasoning[len(old.reasoning) :]))
        else:
            self._thought = None
        self.rows = self.height = None

    def toggle(self) -> None:
        """Fold or unfold the thought."""
        self.unfolded = not self.unfolded
        self.rows = self.height = None

    def drop(self) -> None:
        """Forget the rows, but not how many there were."""
        self.rows = self._answer = self._thought = None

    def invalidate(self) -> None:
        """Forget the rows and their number: the width or the styles changed."""
        self.drop()
        self.height = None

    def estimate(self, width: int) -> int:
        """Return the number of rows: what it was, or a guess from the length of the text."""
        if self.height is not None:
            return self.height
        entry = self.entry
        text = entry.text.count("\n") + len(entry.text) // max(width, 1) + 1 if entry.text else 0
        return text + 1 + bool(entry.title) + bool(entry.thought or entry.reasoning) + bool(entry.footnote)

    def lay(self, formatter: Formatter) -> list[Row]:
        """Return the rows, laying out what is missing."""
        if self.rows is None:
            head = [*self._title(formatter), *self._thoughts(formatter)]
            self.body_row = len(head)
            self.rows = [
                *head,
                *self._body(formatter),
                *self._footnote(formatter),
                BLANK,
            ]
            self.height = len(self.rows)
        return self.rows

    def _title(self, formatter: Formatter) -> list[Row]:
        entry, palette = self.entry, formatter.palette
        if not entry.title:
            return []
        when = one_line(entry.when, formatter.width // 3)
        title = one_line(entry.title, formatter.width - cell_len(when) - 1)
        style = {"user": palette.user, "assistant": palette.assistant, "notice": palette.notice}[entry.role]
        if not when:
            return [row(title, style)]
        space = " " * (formatter.width - cell_len(title) - cell_len(when))
        return [Row(Strip([Segment(title, style), Segment(space), Segment(when, palette.when)]))]

    def _thoughts(self, formatter: Formatter) -> list[Row]:
        entry, palette = self.entry, formatter.palette
        if not (entry.thought or entry.reasoning):
            return []
        running = entry.live and entry.thinking
        sign = "▾" if self.unfolded or running else "▸"
        rows = [row(one_line(f"{sign} {entry.thought or 'thought'}", formatter.width), palette.thought)]
        if not entry.reasoning or not (self.unfolded or running):
            self._thought = None
            return rows
        if self._thought is None:
            self._thought = RowFlow(PlainFlow(max(formatter.width - 2, 2)), palette.thought, "│ ")
            self._thought.pieces.append(clean(entry.reasoning))
        if not self.unfolded:
            return rows + self._thought.tail(THOUGHT_TAIL)
        return rows + self._thought.rows() + ([BLANK] if entry.text else [])

    def _body(self, formatter: Formatter) -> list[Row]:
        entry, palette = self.entry, formatter.palette
        if not entry.text:
            return [row("…", palette.mark)] if entry.live and not entry.thinking else []
        if entry.role != "assistant":
            flow = PlainFlow(formatter.width)
            flow.append(clean(entry.text))
            return RowFlow(flow, palette.notice if entry.role == "notice" else None).rows()
        if self._answer is None:
            self._answer = AnswerFlow(formatter)
            self._answer.append(entry.text)
        if entry.live:
            return self._answer.rows()
        answer, self._answer = self._answer, None
        answer.finish()
        return answer.rows()

    def _footnote(self, formatter: Formatter) -> list[Row]:
        entry, palette = self.entry, formatter.palette
        if not entry.footnote:
            return []
        styles = {"": palette.info, "info": palette.info, "warning": palette.warning, "error": palette.error}
        flow = PlainFlow(formatter.width)
        flow.append(_SIGNS[entry.footnote_kind] + clean(entry.footnote))
        return RowFlow(flow, styles[entry.footnote_kind]).rows()
