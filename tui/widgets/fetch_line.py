"""The line about fetches under a view that stands above the chat. It is there only while something is fetched."""

from __future__ import annotations

from collections.abc import Sequence

from textual.command import CommandPalette
from textual.screen import Screen

from tui.widgets.lines import Line


class FetchLine(Line):
    """Docked at the bottom of a screen, so that what is above it is painted once when it comes, and not again."""

    DEFAULT_CSS = """
    FetchLine { dock: bottom; width: 100%; background: $surface; color: $text-warning; }
    """


def show_over(screen: Screen[object], forms: Sequence[str]) -> None:
    """Show the fetches under what stands on `screen`, in the longest of `forms` that fits; () takes the line away."""
    if not screen.is_running or isinstance(screen, CommandPalette):
        return
    line = next(iter(screen.query(FetchLine)), None)
    if not forms:
        if line is not None:
            line.remove()
        return
    if line is None:
        line = FetchLine()
        screen.mount(line)
    line.say("", forms)
