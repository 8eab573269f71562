"""What is said above the composer of what is typed in it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from tui.chat.clean import clean_line
from tui.keys import filled
from tui.words import N_, _, ngettext

EDITING = N_("Editing: {composer.send} asks it anew beside the old one, {answer.stop} leaves it")
_LEAST = 10


def told_next(queued: Sequence[str], width: int) -> str:
    """Return which question comes next, how many after it, and the key that takes the last one back, in `width` cells.

    There is at least one.
    """
    more = len(queued) - 1
    key = filled(_("{answer.stop} takes it back"))
    if more:
        told = ngettext(
            "and {count} more · {answer.stop} takes that back",
            "and {count} more · {answer.stop} takes the last one back",
            more,
        )
        key = filled(told, count=more)
    begin, text = _("Next: {text}"), clean_line(queued[0])
    room = max(_LEAST, width - cell_len(begin) - cell_len(key))
    if cell_len(text) > room:
        text = f"{set_cell_size(text, room - 1)}…"
    return f"{begin.format(text=text)}  {key}"
