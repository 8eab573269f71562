"""Text on its way to the clipboard of the terminal, which is where the person is, whatever is between.

A terminal takes it as OSC 52; tmux passes that on, or not, as it is configured, and can be handed the text itself. What
is too large, or cannot go there, goes into a file. Nobody tells whether the terminal took it: it is *sent*, not copied.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from backends.errors import Problem
from backends.shown import shown_path
from tui.chat import copied
from tui.chat.clean import clean
from tui.line import outlet, profile, tmux
from tui.line.profile import Multiplexer
from tui.line.tmux import Tmux
from tui.units import memory
from tui.words import _

Setting = Literal["auto", "osc52", "tmux", "file"]
Way = Literal["osc52", "passthrough", "screen", "buffer", "file"]

MOST_ENCODED: Final = 74_994
"""Bytes of base64 that terminals take at least; many drop a longer text without a word."""


class Plan(msgspec.Struct, frozen=True):
    """The way to go; `too_large` if the terminal would not take it all."""

    way: Way
    too_large: bool = False


class CannotCopy(Problem):
    """A text that could not be put anywhere."""


class _Chosen:
    setting: Setting = "auto"


def choose(setting: Setting) -> None:
    """Have text go the way that the settings say."""
    _Chosen.setting = setting


def plan(encoded_bytes: int, through: Multiplexer, setting: Setting, tmux: Tmux | None, *, clipboard: bool) -> Plan:
    """Return the way for a text of so many bytes in base64.

    `tmux` is None where there is none to ask; `clipboard` says whether the terminal can have one.
    """
    large = encoded_bytes > MOST_ENCODED
    if setting == "file":
        return Plan("file")
    if setting == "tmux" or (through == "tmux" and large):
        return Plan("buffer", large) if tmux is not None else Plan("file", large)
    if large:
        return Plan("file", too_large=True)
    if setting == "osc52":
        return Plan("osc52")
    if through == "tmux" and tmux is not None:
        if tmux.set_clipboard == "on":
            return Plan("osc52")
        if tmux.allow_passthrough in {"on", "all"}:
            return Plan("passthrough")
        return Plan("buffer") if tmux.can_load else Plan("file")
    if through == "screen":
        return Plan("screen")
    return Plan("osc52") if clipboard else Plan("file")


def deliver(text: str) -> str:
    """Send a text on its way and return what is to be said of it. It blocks: for a thread. Raises Problem."""
    text = clean(text)
    through = profile.current().through
    asked = through == "tmux" or _Chosen.setting == "tmux"
    around = tmux.ask() if asked and os.environ.get("TMUX") else None
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode()
    found = plan(len(encoded), through, _Chosen.setting, around, clipboard=has_clipboard(os.environ))
    sequence = f"\x1b]52;c;{encoded}\a"
    match found.way:
        case "osc52":
            outlet.say(sequence)
            if not through and os.environ.get("TERM", "").startswith(("tmux", "screen")):
                # It runs at the other end of the line, so it cannot be asked, and by default it keeps this for itself.
                return _("sent to the terminal's clipboard. tmux there passes it on with: set -s set-clipboard on")
            return _("sent to the terminal's clipboard")
        case "passthrough" | "screen":
            name: Multiplexer = "tmux" if found.way == "passthrough" else "screen"
            outlet.say(outlet.passed_on(sequence, name))
            return _("sent through {name} to the terminal's clipboard").format(name=name)
        case "buffer" if tmux.load(text, onwards=not found.too_large):
            if found.too_large:
                return _("too large for the clipboard. tmux has it (its prefix and ])")
            return _("sent to the clipboard by tmux (its prefix and ] paste it too)")
    where = shown_path(_to_file(text))
    if found.too_large:
        size = memory(len(text.encode("utf-8", "replace")))
        return _("too large for the clipboard ({size}). It is in {file}").format(size=size, file=where)
    return _("it is in {file}").format(file=where)


def has_clipboard(environment: Mapping[str, str]) -> bool:
    """Say whether the terminal may have a clipboard that programs can write to."""
    return not profile.is_console(environment) and environment.get("TERM_PROGRAM") != "Apple_Terminal"


def _to_file(text: str) -> Path:
    """Write the text into a file that only its owner reads. Raises CannotCopy."""
    try:
        return copied.keep(text)
    except OSError as error:
        where = shown_path(copied.file())
        raise CannotCopy("Nothing was copied", f"{where}: {error.strerror}", "Make room there.") from error
