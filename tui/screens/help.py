"""The help: every key, made from the table of keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui import keys
from tui.keys import words
from tui.keys.bindings import bindings
from tui.keys.everywhere import PRESETS
from tui.keys.key import Area, Key
from tui.keys.table import AREAS
from tui.widgets.keyed import Scroll
from tui.words import N_, _

_KEYS = 20
_MARKS = (
    ("●  ▌  ▼  !", N_("loaded · chosen · being fetched · cannot be used as it is")),
    ("◆", N_("a pinned chat")),
    ("█ ▒", N_("memory of the card: the model's · others'")),
    ("~", N_("an estimate, or made with an assumed price of electricity")),
    ("–", N_("unknown: what nobody measured is not shown as 0")),
)


class HelpScreen(ModalScreen[None]):
    """All keys by place. On a key it shows their ids instead of what they do."""

    CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > Scroll {
        width: 78; max-width: 100%; height: auto; max-height: 100%;
        border: round $primary; padding: 0 1; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings("help")

    def __init__(self) -> None:
        super().__init__()
        self._ids = False

    def compose(self) -> ComposeResult:
        with Scroll() as box:
            box.border_title = _("Help")
            yield Static()

    def on_mount(self) -> None:
        self.query_one(Scroll).focus()
        self._show()

    def action_ids(self) -> None:
        self._ids = not self._ids
        self._show()

    def _show(self) -> None:
        other = _("{help.ids}: what they do") if self._ids else _("{help.ids}: their ids, for config.toml")
        closes = _("{help.close} closes · {scroll.up} {scroll.down} scroll")
        self.query_one(Scroll).border_subtitle = keys.filled(f"{closes} · {other}")
        self.query_one(Static).update(help_text(ids=self._ids))


def help_text(*, ids: bool = False) -> Content:
    """Return the help's text; with `ids` it says how settings call the keys."""
    lines: list[Content] = []
    for area in AREAS.values():
        lines += _grouped(area, ids=ids) if area.place == "everywhere" else _listed(_(area.title), area.keys, ids=ids)
    lines.append(_head(_("Marks")))
    lines += [_row(marks, _(what)) for marks, what in _MARKS]
    return Content("\n").join(lines)


def _grouped(area: Area, *, ids: bool) -> Iterator[Content]:
    for group in dict.fromkeys(key.group for key in area.keys):
        found = [key for key in area.keys if key.group == group]
        yield from _listed(_(group), found, ids=ids, together=group == PRESETS)


def _listed(title: str, listed: tuple[Key, ...] | list[Key], *, ids: bool, together: bool = False) -> Iterator[Content]:
    """Yield a heading and its keys; the presets' keys stand `together` in one line."""
    yield _head(title)
    if together and not ids:
        both = [found for which in (0, 1) if (found := words.slots(which))]
        yield _row(_(" or ").join(both), _("Answer with the preset on this key"))
    for key in listed:
        if key.follows and not key.keys:
            continue  # They are the preset's own keys.
        if not (together and not ids and key.id.removeprefix("preset.").isdecimal()):
            yield _row(words.every(key.id), key.id if ids else _(key.help))


def _head(title: str) -> Content:
    return Content.styled(title, "bold $text-accent")


def _row(first: str, what: str) -> Content:
    gap = " " * max(2, _KEYS - cell_len(first))
    return Content.assemble((f"  {first}{gap}", "bold"), what)
