"""One line on stderr that is written over while something goes on; where that is no terminal, whole lines."""

from __future__ import annotations

import os

from tui.chat.clean import clean_line
from tui.commands import output
from tui.commands.table import fitted

_ERASE = "\r\x1b[K"


class OneLine:
    """The line. With `quiet` it is never drawn."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.on_terminal = output.is_terminal(2) and not quiet
        self._drawn = False

    def draw(self, text: str) -> None:
        """Show a text of any origin in place of what was shown, cut to the window; nothing where there is none."""
        if self.on_terminal:
            self._drawn = True
            self.write(_ERASE + fitted(clean_line(text), columns() - 1))

    def clear(self) -> None:
        """Take the line back, before anything else is written to the same terminal."""
        if self._drawn:
            self._drawn = False
            self.write(_ERASE)

    def write(self, text: str) -> None:
        """Write at once; whether anybody reads it changes nothing."""
        try:
            os.write(2, text.encode(errors="replace"))
        except OSError:
            self.on_terminal = False


def columns() -> int:
    """Return how wide the terminal of stderr is."""
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80
