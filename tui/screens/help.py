"""The help: every key, made from the table of keys."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.keys import AREAS, KEYS, MESSAGE_KEYS, shown_keys


class HelpScreen(ModalScreen[None]):
    """All keys by group. Esc, F1 or q closes it."""

    CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll {
        width: 78; max-width: 100%; height: auto; max-height: 100%;
        border: round $primary; padding: 0 1; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q", "dismiss", "Close", show=False, id="help.close"),
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = "Help"
            box.border_subtitle = "Esc closes"
            yield Static(help_text())


def help_text() -> Content:
    """Return the help's text."""
    lines: list[Content] = []
    for group in dict.fromkeys(key.group for key in KEYS):
        lines.append(Content.styled(group, "bold $text-accent"))
        if group == "Presets":
            lines.append(_row("F2…F7 or Alt+1…6", "Answer with preset 1…6"))
        keys = [key for key in KEYS if key.group == group and not key.action.startswith("preset(")]
        lines += [_row(shown_keys(key.keys), key.help) for key in keys]
    lines.append(Content.styled("Messages and lists", "bold $text-accent"))
    lines += [_row(keys, what) for keys, what in MESSAGE_KEYS]
    for area in AREAS.values():
        lines.append(Content.styled(area.title, "bold $text-accent"))
        lines += [_row(key.keys, key.help) for key in area.keys]
    lines.append(Content.styled("Marks", "bold $text-accent"))
    lines += [
        _row("●  ▌  ▼  !", "loaded · chosen · being fetched · cannot be used as it is"),
        _row("◆", "a pinned chat"),
        _row("█ ▒", "memory of the card: the model's · others'"),
        _row("~", "an estimate, or made with an assumed price of electricity"),
        _row("–", "unknown: what nobody measured is not shown as 0"),
    ]
    return Content("\n").join(lines)


def _row(keys: str, what: str) -> Content:
    return Content.assemble((f"  {keys:<20}", "bold"), what)
