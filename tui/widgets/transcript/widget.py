"""The widget: lines on demand, and no more sent to the terminal than what changed.

Three things keep it cheap: the virtual height grows in steps, because each change of it repaints the widget; while an
answer runs, the view moves in steps, because each move repaints it too; between two steps only changed cells are sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from tui.widgets.transcript.column import Column, Place
from tui.widgets.transcript.markdown import Formatter
from tui.widgets.transcript.model import Entry
from tui.widgets.transcript.palette import COMPONENT_CLASSES, resolve
from tui.widgets.transcript.rows import MARGIN, Row, changed_cells, framed
from tui.widgets.transcript.selecting import highlighted, selected_text

HEIGHT_STEP: Final = 64  # rows by which the virtual height grows while an answer runs
STEP_OVER_SSH: Final = 8
STEP_LOCAL: Final = 2


class Transcript(ScrollView, can_focus=True, inherit_bindings=False):
    """Shows entries; follows the end unless the reader has moved up.

    `scroll_step` is the number of rows by which the view moves while an answer runs: more rows, fewer bytes.
    """

    ALLOW_SELECT = True
    COMPONENT_CLASSES: ClassVar[set[str]] = COMPONENT_CLASSES
    DEFAULT_CSS = Path(__file__).with_name("transcript.tcss").read_text(encoding="utf-8")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "line_up", "Line up", show=False, id="transcript.line_up"),
        Binding("down,j", "line_down", "Line down", show=False, id="transcript.line_down"),
        Binding("pageup", "page_up", "Page up", show=False, id="transcript.page_up"),
        Binding("pagedown", "page_down", "Page down", show=False, id="transcript.page_down"),
        Binding("home", "home", "To the beginning", show=False, id="transcript.home"),
        Binding("end", "end", "To the end", show=False, id="transcript.end"),
        Binding("t", "toggle_thought", "Unfold or fold the last thought", show=False, id="transcript.thought"),
    ]

    class More(Message):
        """Whether there is text below the view changed."""

        def __init__(self, transcript: Transcript, below: bool) -> None:
            super().__init__()
            self.transcript = transcript
            self.below = below

        @property
        def control(self) -> Transcript:
            return self.transcript

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 (Textual's names)
        super().__init__(id=id, classes=classes)
        over_ssh = any(name in os.environ for name in ("SSH_CONNECTION", "SSH_TTY"))
        self.scroll_step = STEP_OVER_SSH if over_ssh else STEP_LOCAL
        self._column = Column()
        self._formatter: Formatter | None = None
        self._place = Place(0, 0)
        self._following = True
        self._placing = False
        self._more = False
        self._base = Style()

    # What is shown

    def show(self, entries: Sequence[Entry]) -> None:
        """Replace everything, and show the end."""
        self._column.replace(entries)
        self.action_end()

    def put(self, entry: Entry) -> None:
        """Show a new value of the entry of this id, or append it. Text that only grew costs what was added."""
        column = self._column
        position = column.find(entry.id)
        if position is None:
            position, old = column.append(entry), None
        else:
            layout = column.layouts[position]
            if layout.entry == entry:
                return
            old = layout.rows
            layout.update(entry)
        column.touch(position)
        self._settle()
        self._repaint(position, old)

    def take_out(self, entry_id: str) -> None:
        """Remove the entry of this id, if it is there."""
        position = self._column.find(entry_id)
        if position is None:
            return
        self._column.remove(position)
        if self._place.entry > position:
            self._place = Place(self._place.entry - 1, self._place.row)
        elif self._place.entry == position:
            self._place = Place(position, 0)
        self._settle()
        self.refresh()

    def toggle_thought(self, entry_id: str | None = None) -> None:
        """Fold or unfold the thought of an entry; None is the last one that has a thought."""
        position = self._thought_position(entry_id)
        if position is None:
            return
        column = self._column
        layout = column.layouts[position]
        header = Place(position, layout.thought_row or 0)
        on_screen = column.line(header) - int(self.scroll_offset.y)
        layout.toggle()
        column.touch(position)
        # The summary stays where it is, or comes to the top if the reader was deep in the thought.
        on_screen = on_screen if 0 <= on_screen < self._rows_in_view else 0
        self._following = False
        self._lay(header)
        self._place = column.place(max(0, column.line(header) - on_screen))
        self._following = column.line(self._place) >= self._end
        self._settle()
        self.refresh()

    def entry_at_top(self) -> str | None:
        """Return the id of the entry in the first row of the view."""
        layouts = self._column.layouts
        return layouts[min(self._place.entry, len(layouts) - 1)].entry.id if layouts else None

    @property
    def more_below(self) -> bool:
        """Whether there is text below the view."""
        return self._more

    @property
    def following(self) -> bool:
        """Whether the view moves with the end."""
        return self._following

    # Moving

    def action_line_up(self) -> None:
        self._move(-1)

    def action_line_down(self) -> None:
        self._move(1)

    def action_page_up(self) -> None:
        self._move(-max(1, self._rows_in_view - 1))

    def action_page_down(self) -> None:
        self._move(max(1, self._rows_in_view - 1))

    def action_home(self) -> None:
        self.scroll_to(y=0, animate=False, force=True)

    def action_end(self) -> None:
        self._following = True
        self._settle(to_end=True)
        self.refresh()

    def action_toggle_thought(self) -> None:
        self.toggle_thought()

    def _move(self, rows: int) -> None:
        self.scroll_to(y=self.scroll_offset.y + rows, animate=False, force=True)

    @property
    def max_scroll_y(self) -> int:
        """The last position: the end of the text, whatever room the virtual height has below it."""
        return self._end + self._lead

    @property
    def _rows_in_view(self) -> int:
        return self.scrollable_content_region.height

    @property
    def _end(self) -> int:
        """The position that shows the last row of text at the bottom."""
        return max(0, self._column.total() - self._rows_in_view)

    @property
    def _live(self) -> bool:
        return any(layout.entry.live for layout in self._column.layouts[-2:])

    @property
    def _lead(self) -> int:
        """Empty rows that the view may have under the text, so that a running answer does not move it at each row."""
        return max(0, min(self.scroll_step, self._rows_in_view) - 1) if self._live and self._end else 0

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._placing:
            return
        self._place = self._column.place(round(new_value))
        self._following = new_value >= (self._end if new_value > old_value else self.max_scroll_y)
        self._settle()

    def on_resize(self) -> None:
        width = self.scrollable_content_region.width - 2 * MARGIN
        if width != self._column.width:
            self._rewrap(width)
        self._settle()
        self.refresh()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        if self.is_mounted:
            self.call_later(self._restyle)

    def _rewrap(self, width: int) -> None:
        """Lay out at another width; the place keeps its entry, and its share of the entry's rows."""
        column, place = self._column, self._place
        before = column.layouts[place.entry].estimate(column.width) if place.entry < len(column.layouts) else 1
        column.width = width
        self._formatter = None
        column.invalidate()
        if place.row and self._ready() and place.entry < len(column.layouts):
            self._lay(Place(place.entry, 0))
            after = column.layouts[place.entry].estimate(width)
            self._place = Place(place.entry, round(place.row * after / max(1, before)))

    def _restyle(self) -> None:
        """Lay out anew if the theme gives other styles."""
        if self._formatter is None or resolve(self.get_component_rich_style) != self._formatter.palette:
            self._formatter = None
            self._column.invalidate()
            self._settle()
        self.refresh()

    # Laying out what is near the view

    def _ready(self) -> Formatter | None:
        """Return the formatter, or None as long as the widget has no size."""
        width = self._column.width
        if not width or not self.is_mounted:
            return None
        if self._formatter is None:
            self._formatter = Formatter(resolve(self.get_component_rich_style), width)
        return self._formatter

    def _lay(self, place: Place) -> None:
        formatter, rows = self._ready(), self._rows_in_view
        if formatter is not None and self._column.layouts:
            self._column.lay(formatter, place, rows, 2 * rows)

    def _settle(self, *, to_end: bool = False) -> None:
        """Lay out around the view, then set virtual height and position to what the rows came out as."""
        column = self._column
        if self._ready() is None:
            return
        if self._following:
            self._lay(Place(max(0, len(column.layouts) - 1), 0))
            position = self._end if to_end else self._following_position()
        else:
            self._lay(self._place)
            position = column.line(self._place)
        with self._placed():
            self._grow()
            position = max(0, min(position, self.max_scroll_y))
            if position != int(self.scroll_offset.y):
                self.scroll_to(y=position, animate=False, force=True)
        self._place = column.place(position)
        self._tell(position)

    def _following_position(self) -> int:
        """Stay as long as the last row is in view and not too far up; else move on by a whole step."""
        position, end = int(self.scroll_offset.y), self._end
        if position < end:
            return end + self._lead
        return position if position <= end + self._lead else end

    def _grow(self) -> None:
        total = max(self._column.total(), 1)
        height = (total + self._lead) // HEIGHT_STEP * HEIGHT_STEP + HEIGHT_STEP if self._live else total
        size = Size(self.scrollable_content_region.width, height)
        if size != self.virtual_size:
            self.virtual_size = size

    @contextmanager
    def _placed(self) -> Iterator[None]:
        """Moves in here are ours, not the reader's."""
        self._placing = True
        try:
            yield
        finally:
            self._placing = False

    def _tell(self, position: int) -> None:
        below = position < self._end
        if below != self._more:
            self._more = below
            self.post_message(self.More(self, below))

    def _thought_position(self, entry_id: str | None) -> int | None:
        layouts = self._column.layouts
        if entry_id is not None:
            position = self._column.find(entry_id)
            return position if position is not None and layouts[position].entry.reasoning else None
        return next((at for at in range(len(layouts) - 1, -1, -1) if layouts[at].entry.reasoning), None)

    # Painting

    def _repaint(self, position: int, old: list[Row] | None) -> None:
        """Refresh the cells of an entry that are not what they were."""
        column = self._column
        new = column.layouts[position].rows
        shifted = position < len(column.layouts) - 1 and (old is None or new is None or len(old) != len(new))
        if shifted or (old is None and new is None):
            self.refresh()
            return
        before, after = old or [], new or []
        offset = column.top(position) - int(self.scroll_offset.y)
        regions = []
        for number in range(max(0, -offset), min(max(len(before), len(after)), self._rows_in_view - offset)):
            was = before[number].strip if number < len(before) else Strip([])
            now = after[number].strip if number < len(after) else Strip([])
            if cells := changed_cells(was, now):
                regions.append(Region(MARGIN + cells[0], offset + number, cells[1] - cells[0], 1))
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        line = int(self.scroll_offset.y) + y
        width = self.scrollable_content_region.width
        if y == 0 or not self._base:
            self._base = self.rich_style
        strip = self._strip(line)
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(line)) is not None:
            strip = highlighted(strip, span, self.screen.get_component_rich_style("screen--selection"))
        return framed(strip, self._base, width).apply_offsets(0, line)

    def _strip(self, line: int) -> Strip:
        column = self._column
        place = column.place(line)
        if place.entry >= len(column.layouts):
            return Strip([])
        rows = column.layouts[place.entry].rows or []
        return rows[place.row].strip if place.row < len(rows) else Strip([])

    # Selecting

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        formatter = self._ready()
        return (selected_text(self._column, formatter, selection), "\n") if formatter is not None else None
