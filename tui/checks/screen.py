"""The check of what the terminal can show."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

from backends.errors import Problem
from backends.shown import printable
from tui import terminal
from tui.checks.check import Check
from tui.line import profile, tmux
from tui.line.whence import whence
from tui.settings import Settings, load_settings

_NAME = "terminal"
_NARROW, _LOW = 60, 16
_COLOURS = {"true": "16 million colours", "256": "256 colours", "16": "16 colours", "none": "no colours"}


def screen() -> Iterator[Check]:
    """What the terminal can show."""
    if not (os.isatty(0) and os.isatty(1)):
        yield Check(_NAME, "ok", "none here (piped): `ask` works, the screen needs one")
        return
    term = printable(os.environ.get("TERM", ""), 40)
    if not terminal.usable():
        yield Check(_NAME, "warn", f"TERM is {term or 'not set'}", "export TERM=xterm-256color", "ugly")
        return
    settings = _settings()
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    columns, lines = shutil.get_terminal_size()
    through = ", ".join(_through(settings))
    fixes = list(_fixes(encoding, columns, lines, told=bool(settings.colours)))
    yield from _clipboard(settings)
    if fixes:
        found = "; ".join(what for what, _ in fixes)
        yield Check(_NAME, "warn", f"TERM={term}, {found}", "   ".join(fix for _, fix in fixes), "ugly")
        return
    yield Check(_NAME, "ok", ", ".join([f"TERM={term}", *_drawn(settings), f"UTF-8, {columns} × {lines}", through]))


def _settings() -> Settings:
    try:
        return load_settings()
    except Problem:  # Another check tells what is wrong with them.
        return Settings()


def _fixes(encoding: str, columns: int, lines: int, *, told: bool) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a terminal that can be drawn on, and what mends it; `told` are colours by settings."""
    if encoding != "utf8":
        yield f"{printable(encoding, 40) or 'no encoding'} instead of UTF-8", "export LC_ALL=C.UTF-8"
    if terminal.few_colours() and not told:
        if os.environ.get("TMUX"):
            fix = "In ~/.tmux.conf: set -g default-terminal tmux-256color   then: tmux kill-server, and anew"
        elif os.environ.get("STY"):
            fix = "In ~/.screenrc: term screen-256color   then start screen anew"
        else:
            fix = "export TERM=xterm-256color   (where your terminal knows it: nearly all do)"
        yield "16 colours", fix
    if columns < _NARROW or lines < _LOW:
        yield f"{columns} × {lines} is small", f"Make the window larger: {_NARROW} × {_LOW} or more."


def _clipboard(settings: Settings) -> Iterator[Check]:
    """There is a way through every tmux, but not the one that the settings may name: plain OSC 52 ends at some."""
    if settings.clipboard != "osc52" or not os.environ.get("TMUX"):
        return
    found = tmux.ask()
    if found is not None and found.set_clipboard != "on":
        fix = 'clipboard = "auto" in the settings goes another way, or: tmux set -s set-clipboard on'
        told = f'clipboard = "osc52", and tmux has set-clipboard {printable(found.set_clipboard, 20)}'
        yield Check("clipboard", "warn", told, fix, "no-copy")


def _drawn(settings: Settings) -> Iterator[str]:
    """Yield how the screen is drawn here, and what it is that says so where the terminal itself does not."""
    found = profile.decide(os.environ, settings.profile, settings.colours)
    yield _COLOURS[found.colours] + (" (by the settings)" if settings.colours else "")
    if found.dark is False:
        yield "light (COLORFGBG)"


def _through(settings: Settings) -> Iterator[str]:
    """Yield which profile the screen takes, why, and what stands in between."""
    found = whence(os.environ)
    if settings.profile:
        where = "DEEPSEEK_TUI_PROFILE" if os.environ.get("DEEPSEEK_TUI_PROFILE") else "the settings"
        yield f"profile {settings.profile} (by {where})"
    else:
        yield "profile ssh" if found.far else "profile local"
        if found.why:
            yield found.why
    between = profile.multiplexer(os.environ)
    if between:
        yield f"inside {between}"
    if os.environ.get("NO_COLOR") and not settings.colours:
        yield "NO_COLOR is set"
