"""The widget: lines on demand, and no more sent to the terminal than what changed.

Three things keep it cheap: the virtual height grows in steps, because each change of it repaints the widget; while an
answer runs, the view moves in steps, because each move repaints it too; between two steps only changed cells are sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from rich.style import Style
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from tui.keys.bindings import bindings
from tui.line import profile
from tui.widgets.transcript import code, keys, painting
from tui.widgets.transcript.column import Column, Place
from tui.widgets.transcript.markdown import Formatter
from tui.widgets.transcript.model import Entry
from tui.widgets.transcript.palette import COMPONENT_CLASSES, resolve
from tui.widgets.transcript.rows import MARGIN, Row, framed
from tui.widgets.transcript.selecting import highlighted, selected_text
from tui.widgets.transcript.standing import Marks, Standing

WIDEST: Final = 120  # cells of a line; a longer one is hard to read
HEIGHT_STEP: Final = 64  # rows by which the virtual height grows while an answer runs


class Transcript(ScrollView, can_focus=True, inherit_bindings=False):
    """Shows entries; follows the end unless the reader has moved up.

    `scroll_step` is the number of rows by which the view moves while an answer runs: more rows, fewer bytes.
    """

    ALLOW_SELECT = True
    COMPONENT_CLASSES: ClassVar[set[str]] = COMPONENT_CLASSES
    DEFAULT_CSS = Path(__file__).with_name("transcript.tcss").read_text(encoding="utf-8")
    BINDINGS: ClassVar[list[BindingType]] = bindings("messages")

    class Worked(Message):
        """Something is to be done with the message that the reader stands on."""

        def __init__(self, transcript: Transcript, what: keys.Work) -> None:
            super().__init__()
            self.transcript = transcript
            self.what = what

        @property
        def control(self) -> Transcript:
            return self.transcript

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
        self.scroll_step = profile.current().scroll_step
        self._column = Column()
        self._formatter: Formatter | None = None
        self._place = Place(0, 0)
        self._following = True
        self._placing = self._more = False
        self._base = Style()
        self._standing = Standing(self._column)

    # What is shown

    def show(self, entries: Sequence[Entry]) -> None:
        """Replace everything, and show the end."""
        self._column.replace(entries)
        self._standing.forget()
        self.action_end()

    def change(self, entries: Sequence[Entry]) -> None:
        """Show other entries; those that stay are where they were, if the reader does not follow the end."""
        column, place, top = self._column, self._place, self.entry_at_top()
        column.change(entries)
        position = column.find(top) if top is not None else None
        self._place = Place(place.entry, 0) if position is None else Place(position, place.row)
        self._settle()
        self.refresh()

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
        if self._column.find(entry_id) is not None:
            self.change([layout.entry for layout in self._column.layouts if layout.entry.id != entry_id])

    def toggle_thought(self, entry_id: str | None = None) -> None:
        """Fold or unfold the thought of an entry; None is the last one that has a thought."""
        position = self._column.thought(entry_id)
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
    def following(self) -> bool:
        """Whether the view moves with the end."""
        return self._following

    # Standing on a message

    @property
    def stood(self) -> str | None:
        """The id of the message that the reader stands on, with focus."""
        return self._standing.entry if self.has_focus else None

    def stand(self, entry_id: str) -> None:
        """Stand on a message, and bring it into view with its title if it is not wholly there."""
        position = self._column.find(entry_id)
        if position is not None:
            self._stand_on(position)
            top, y = self._column.top(position), int(self.scroll_offset.y)
            if top < y or self._column.top(position + 1) - 1 > y + self._rows_in_view:
                self.action_go(top)

    def find(self, entry_id: str, marks: Marks, *, thought: bool = False) -> None:
        """Stand on a message, and show in it what was found: in its unfolded thought if it is there."""
        position = self._standing.mark(entry_id, marks, thought=thought)
        if position is not None:
            self._stand_on(position)
            self.action_go(self._standing.found_line(position, self._rows_in_view))
            self.refresh()

    def forget_found(self) -> None:
        """Mark no words any more."""
        if self._standing.forget():
            self.refresh()

    def action_step(self, step: int) -> None:
        position = self._standing.beside(step)
        if position is not None:
            self.stand(self._column.layouts[position].entry.id)
        else:
            self.action_line(step)  # What is left of this one, or the notices after it.

    def action_work(self, what: keys.Work) -> None:
        self.post_message(self.Worked(self, what))

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self._keep_standing()
        self.refresh()

    def _stand_on(self, position: int) -> None:
        self._remark(self._standing.stand_on(position))
        self._lay(Place(position, 0))

    def _keep_standing(self) -> None:
        """What a key works on is always seen."""
        if self.has_focus and self._column.layouts:
            y = int(self.scroll_offset.y)
            self._remark(self._standing.keep_in(y, self._rows_in_view, at_end=self._following))

    def _remark(self, positions: Iterable[int]) -> None:
        """Paint the left edge of entries again."""
        view = int(self.scroll_offset.y), self._rows_in_view
        found = [painting.margin_region(self._column, position, *view) for position in positions]
        if regions := [region for region in found if region is not None]:
            self.refresh(*regions)

    # Moving

    def move(self, key: str) -> None:
        """Do what a key of the composer means here: pageup, pagedown or end."""
        self.action_end() if key == "end" else self.action_page(1 if key == "pagedown" else -1)

    def action_line(self, step: int) -> None:
        self.action_go(int(self.scroll_offset.y) + step)

    def action_page(self, step: int) -> None:
        self.action_line(step * max(1, self._rows_in_view - 1))

    def action_end(self) -> None:
        self._following, self._standing.entry = True, None
        self._settle(to_end=True)
        self.refresh()

    def action_toggle_thought(self) -> None:
        here = self.stood
        self.toggle_thought(here if here is not None and self._column.thought(here) is not None else None)

    def action_go(self, line: int) -> None:
        self.scroll_to(y=line, animate=False, force=True)

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
        width = min(self.scrollable_content_region.width - 2 * MARGIN, WIDEST)
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
        self._keep_standing()
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

    # Painting

    def _repaint(self, position: int, old: list[Row] | None) -> None:
        """Refresh the cells of an entry that are not what they were."""
        y, rows = int(self.scroll_offset.y), self._rows_in_view
        margin = self._column.layouts[position].entry.id == self.stood
        regions = painting.changed_regions(self._column, position, old, y, rows, margin=margin)
        if regions is None:
            self.refresh()
        elif regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        line = int(self.scroll_offset.y) + y
        if y == 0 or not self._base:
            self._base = self.rich_style
        place, palette = self._column.place(line), self._formatter.palette if self._formatter is not None else None
        strip = painting.strip_of(self._column, place, self._standing, palette)
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(line)) is not None:
            strip = highlighted(strip, span, self.screen.get_component_rich_style("screen--selection"))
        margin = painting.margin_of(place, self._standing, self._base, palette) if self.has_focus else None
        return framed(strip, self._base, self.scrollable_content_region.width, margin).apply_offsets(0, line)

    # Selecting and copying

    def seen_code(self, entry_id: str) -> int:
        """Return which code block of an entry is the first in view."""
        position, formatter = self._column.find(entry_id), self._ready()
        if position is None or formatter is None:
            return 0
        top = int(self.scroll_offset.y) - self._column.top(position)
        return code.seen_code(self._column.layouts[position], formatter, top, self._rows_in_view)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        formatter = self._ready()
        return (selected_text(self._column, formatter, selection), "\n") if formatter is not None else None
