"""The chats at the side, by day: a part of them at a time, and keys that keep them in order."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.chat.clean import clean_line
from tui.keys.bindings import bindings

ARCHIVED = "archived"
"""The id of the line that shows or hides the archived chats."""
NEAR = 10
"""So many lines before an end of what is here, more is asked for."""


class ChatLine(msgspec.Struct, frozen=True):
    """One chat as the list shows it, or a heading (`id` ""), or the line that unfolds the archived ones."""

    id: str
    title: str
    open: bool = False
    pinned: bool = False


class ChatList(OptionList, inherit_bindings=False):
    """The chats by day. Enter opens one, and keys change them."""

    Work = Literal["rename", "pin", "archive", "delete", "undo"]
    BINDINGS: ClassVar[list[BindingType]] = bindings("lists", "chats")

    class Opened(Message):
        def __init__(self, conversation: str) -> None:
            super().__init__()
            self.conversation = conversation

    class Folded(Message):
        """The archived chats are to be shown, or hidden again."""

    class Worked(Message):
        """Something is to be done with a chat, or `conversation` "" with none."""

        def __init__(self, what: ChatList.Work, conversation: str) -> None:
            super().__init__()
            self.what = what
            self.conversation = conversation

    class Near(Message):
        """The reader is near an end of what is shown, and the list goes on there. `step` is 1 for its lower end."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._now_shown: list[ChatLine] = []
        self._open: int | None = None
        self._more = (False, False)
        self._showing = False

    def show(self, chats: list[ChatLine], *, more_before: bool = False, more_after: bool = False) -> None:
        """Replace the lines, if they changed; the reader's place stays, and what is in view if it is still there."""
        self._more = (more_before, more_after)
        if chats == self._now_shown:
            return
        before, top, at = self._now_shown, int(self.scroll_y), self.highlighted
        kept = self.highlighted_option.id if self.highlighted_option is not None else None
        self._now_shown = chats
        self._open = next((number for number, line in enumerate(chats) if line.open), None)
        places = {line.id: number for number, line in enumerate(chats) if line.id}
        self._showing = True
        try:
            self.set_options([_option(line) for line in chats])
            stays = next(((n, before[n].id) for n in range(top, len(before)) if before[n].id in places), None)
            if kept in places:
                self.highlighted = places[kept]
            elif at is not None and places:  # It is gone: the one in its place.
                self.highlighted = min(places.values(), key=lambda number: abs(number - at))
            if stays is not None:
                self.scroll_to(y=max(0, places[stays[1]] - (stays[0] - top)), animate=False, force=True)
            if self.highlighted is not None and self.has_focus:
                self.scroll_to_highlight()
        finally:
            self._showing = False

    def on_focus(self) -> None:
        if self.highlighted is None:
            self.highlighted = self._open
            if self.highlighted is None:
                self.action_first()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and new_value <= NEAR:
            self._ask(-1)
        elif new_value > old_value and new_value >= self.max_scroll_y - NEAR:
            self._ask(1)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option_index <= NEAR:
            self._ask(-1)
        if event.option_index >= len(self._now_shown) - 1 - NEAR:
            self._ask(1)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option.id == ARCHIVED:
            self.post_message(self.Folded())
        elif event.option.id is not None:
            self.post_message(self.Opened(event.option.id))

    def action_work(self, what: Work) -> None:
        option = self.highlighted_option
        conversation = option.id if option is not None and option.id not in {None, ARCHIVED} else None
        if conversation is not None or what == "undo":
            self.post_message(self.Worked(what, conversation or ""))

    def _ask(self, step: int) -> None:
        if not self._showing and self._more[step > 0]:
            self.post_message(self.Near(step))


def _option(line: ChatLine) -> Option:
    if not line.id:
        return Option(Content.styled(f" {line.title}", "dim"), disabled=True)
    if line.id == ARCHIVED:
        return Option(Content.styled(f" {line.title}", "dim"), id=line.id)
    mark = ("▌" if line.open else " ") + ("◆ " if line.pinned else "")
    return Option(Content.styled(mark + clean_line(line.title), "bold" if line.open else ""), id=line.id)
