"""The presets at the side, with their keys."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec
from rich.cells import cell_len, set_cell_size
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui import keys
from tui.chat.clean import clean_line
from tui.keys.bindings import bindings

_MARKS = {"loaded": "●", "chosen": "▌", "problem": "!", "fetching": "▼", "": " "}


class PresetLine(msgspec.Struct, frozen=True):
    """One preset as the sidebar shows it. `mark` is loaded, chosen, problem, fetching or "". `slot` 0 has no key."""

    name: str
    slot: int
    title: str
    detail: str
    speed: str
    mark: str = ""


class PresetList(OptionList, inherit_bindings=False):
    """The presets. Enter chooses one, and three keys change them."""

    Work = Literal["edit", "copy", "delete"]
    BINDINGS: ClassVar[list[BindingType]] = bindings("lists", "presets")

    class Worked(Message):
        """Something is to be done with a preset."""

        def __init__(self, what: PresetList.Work, name: str) -> None:
            super().__init__()
            self.what = what
            self.name = name

    class Chosen(Message):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._now_shown: list[PresetLine] = []
        self._used: int | None = None

    def show(self, presets: list[PresetLine], width: int) -> None:
        """Replace the lines, if they changed; `width` is the number of cells there are."""
        if presets == self._now_shown:
            return
        before, self._now_shown = self._now_shown, presets
        kept = self.highlighted
        if [_form(line) for line in before] == [_form(line) for line in presets]:
            for place, (old, new) in enumerate(zip(before, presets, strict=True)):
                if old != new:
                    self._repaint(place, _preset(new, width))
            return
        self._used = next((number for number, line in enumerate(presets) if line.mark in {"loaded", "chosen"}), 0)
        self.set_options([Option(_preset(line, width), id=line.name) for line in presets])
        if kept is not None and kept < len(presets):
            self.highlighted = kept

    def _repaint(self, place: int, prompt: Content) -> None:
        """Show another text of as many lines in place of an option's. All else is not painted again."""
        self.get_option_at_index(place)._set_prompt(prompt)  # noqa: SLF001 - its public way paints the whole list
        self._option_render_cache.clear()
        if place in self._heights:  # Not where the list is folded away.
            self.refresh_lines(self._index_to_line[place], self._heights[place])

    def on_focus(self) -> None:
        if self.highlighted is None:
            self.highlighted = self._used

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option.id is not None:
            self.post_message(self.Chosen(event.option.id))

    def action_work(self, what: Work) -> None:
        if self.highlighted_option is not None and self.highlighted_option.id is not None:
            self.post_message(self.Worked(what, self.highlighted_option.id))


def _form(line: PresetLine) -> tuple[str, str, bool, bool]:
    """Return what decides where lines stand, and which of them is in use."""
    return line.name, line.mark, bool(line.detail), bool(line.speed)


def _preset(line: PresetLine, width: int) -> Content:
    key = keys.slot(line.slot) or "  "
    title = clean_line(line.title)
    room = max(4, width - 3 - cell_len(key))
    title = title if cell_len(title) <= room else set_cell_size(title, room - 1).rstrip() + "…"
    first = set_cell_size(f"{key} {title}", width - 2)
    mark = (_MARKS[line.mark], "$text-warning" if line.mark == "problem" else "$text-accent")
    parts = [Content.assemble((first, "bold $text-accent" if line.mark in {"loaded", "chosen"} else "bold"), mark)]
    parts += [Content.styled(f"   {clean_line(text)}", "dim") for text in (line.detail, line.speed) if text]
    return Content("\n").join(parts)
