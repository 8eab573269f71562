"""The help: every key, made from the table of keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from tui.widgets.lines import wrapped
from tui.words import N_, _

WIDTH = 78
_KEYS = 20
_BORDER_PADDING_AND_SCROLLBAR = 6
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

    def on_resize(self) -> None:
        self._show()

    def action_ids(self) -> None:
        self._ids = not self._ids
        self._show()

    def _show(self) -> None:
        other = _("{help.ids}: what they do") if self._ids else _("{help.ids}: their ids, for config.toml")
        closes = _("{help.close} closes · {scroll.up} {scroll.down} scroll")
        self.query_one(Scroll).border_subtitle = keys.filled(f"{closes} · {other}")
        width = min(self.app.size.width, WIDTH) - _BORDER_PADDING_AND_SCROLLBAR
        self.query_one(Static).update(help_text(width, ids=self._ids))


def help_text(width: int = WIDTH, *, ids: bool = False) -> Content:
    """Return the help's text in lines of at most `width` cells; with `ids` it says how settings call the keys."""
    lines: list[Content] = []
    for title, rows in _sections(ids=ids):
        lines.append(Content.styled(title, "bold $text-accent"))
        for first, what in rows:
            lines += _row(first, what, width)
    return Content("\n").join(lines)


def _sections(*, ids: bool) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield headings, and what stands below each: keys, and what they do."""
    for area in AREAS.values():
        if area.place == "everywhere":
            yield from _grouped(area, ids=ids)
        else:
            yield _(area.title), list(_rows(area.keys, ids=ids))
    yield _("Marks"), [(marks, _(what)) for marks, what in _MARKS]


def _grouped(area: Area, *, ids: bool) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    for group in dict.fromkeys(key.group for key in area.keys):
        rows = list(_rows((key for key in area.keys if key.group == group), ids=ids))
        if group == PRESETS and not ids:
            both = [found for which in (0, 1) if (found := words.slots(which))]
            rows.insert(0, (_(" or ").join(both), _("Answer with the preset on this key")))
        yield _(group), rows


def _rows(listed: Iterable[Key], *, ids: bool) -> Iterator[tuple[str, str]]:
    """Yield keys and what they do; those of the presets stand together in one line, and have one each by id."""
    for key in listed:
        if key.follows and not key.keys:
            continue  # They are the preset's own keys.
        if ids or not key.id.removeprefix("preset.").isdecimal():
            yield words.every(key.id), key.id if ids else _(key.help)


def _row(first: str, what: str, width: int) -> Iterator[Content]:
    room = min(_KEYS, max(6, width // 3))
    gap = room - cell_len(first)
    text, *more = wrapped(what, max(8, width - room - 2))
    if gap > 1:
        yield Content.assemble((f"  {first}{' ' * gap}", "bold"), text)
    else:
        yield Content.styled(f"  {first}", "bold")
        more.insert(0, text)
    for line in more:
        yield Content(" " * (room + 2) + line)
