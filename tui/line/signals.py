"""The end of an answer, told to a person who is looking elsewhere; and the title of the terminal's window.

Both are text that a terminal shows outside of the picture: cleaned, short, and nothing that ends or splits a sequence.
"""

from __future__ import annotations

import os
from typing import Final, Literal

from tui.chat.clean import clean_line
from tui.line import outlet, profile, tmux
from tui.line.profile import Multiplexer

Setting = Literal["off", "bell", "osc9", "osc777"]

LONG_S: Final = 10.0
"""After so long nobody is sure to be still looking."""
_LONGEST: Final = 200
_LONGEST_TITLE: Final = 80


class _Chosen:
    done: Setting = "off"
    title: bool = True
    shown: str | None = None


def choose(done: Setting, *, title: bool) -> None:
    """Have ends signalled, and the title set, as the settings say."""
    _Chosen.done, _Chosen.title = done, title


def ended(text: str, took_s: float, *, looking: bool) -> None:
    """Signal the end of an answer that took so long; one that somebody has plainly seen is not signalled.

    In a tmux that would keep a message back it is a bell. That is asked, which takes moments: for a thread.
    """
    if _Chosen.done == "off" or (took_s <= LONG_S and looking):
        return
    through = profile.current().through
    kept_back = through == "tmux" and _Chosen.done != "bell" and not tmux.passes_on()
    outlet.say(signal("bell" if kept_back else _Chosen.done, text, through))


def signal(setting: Setting, text: str, through: Multiplexer) -> str:
    """Return what says `text` to the terminal by a way; "" for none."""
    said = shortened(text, _LONGEST)
    match setting:
        case "bell":
            return "\a"  # A multiplexer has bells of its own, and marks the window.
        case "osc9":
            return outlet.passed_on(f"\x1b]9;{said}\a", through)
        case "osc777":
            return outlet.passed_on(f"\x1b]777;notify;deepseek-tui;{said}\a", through)
        case _:
            return ""


def show_title(text: str) -> None:
    """Give the window a title, if it is another than it has; what it had before is kept for `give_title_back`."""
    title = shortened(text, _LONGEST_TITLE)
    if _Chosen.title and title != _Chosen.shown and not profile.is_console(os.environ):
        outlet.say(("\x1b[22;0t" if _Chosen.shown is None else "") + f"\x1b]2;{title}\a")
        _Chosen.shown = title


def give_title_back() -> None:
    """Give the window the title that it had."""
    outlet.say(old_title())
    _Chosen.shown = None


def old_title() -> str:
    """Return what gives the window the title that it had, "" where it has that."""
    return "" if _Chosen.shown is None else "\x1b[23;0t"


def shortened(text: str, most: int) -> str:
    """Return a text of one line that is no part of a sequence: no control, no ; which divides one, at most so long."""
    line = clean_line(text).replace(";", ",").strip()
    return line if len(line) <= most else line[: most - 1] + "…"
