"""The tmux around us: how it is configured, whether our pane is to be seen, and what it can be handed."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Final

import msgspec

_PATIENCE_S: Final = 1.0


class Tmux(msgspec.Struct, frozen=True):
    """How a tmux is configured. `can_load`: it can be handed a text for the clipboard, as it can since 3.2."""

    set_clipboard: str = "external"
    allow_passthrough: str = "off"
    can_load: bool = False


def ask() -> Tmux | None:
    """Return how the tmux around us is configured, None if it does not answer. It blocks, for a second at most."""
    version = _run("-V")
    if version is None:
        return None
    number = re.search(r"(\d+)\.(\d+)", version)
    release = (int(number[1]), int(number[2])) if number else (9, 9)  # "tmux master": newer than any number
    clipboard = _run("show-options", "-sv", "set-clipboard")
    if clipboard is None:
        return None
    # Before there was the option, everything was passed on.
    passing = _run("show-options", "-Apv", *_here(), "allow-passthrough")
    return Tmux(clipboard, "on" if release < (3, 3) else passing or "off", release >= (3, 2))


def passes_on() -> bool:
    """Say whether what is wrapped reaches the terminal now: unless told otherwise, only from a pane that is seen."""
    found = ask()
    if found is None or found.allow_passthrough not in {"on", "all"}:
        return False
    if found.allow_passthrough == "all":
        return True
    seen = "#{&&:#{session_attached},#{&&:#{window_active},#{||:#{pane_active},#{!=:#{window_zoomed_flag},1}}}}"
    return _run("display-message", "-p", *_here(), seen) == "1"


def load(text: str, *, onwards: bool) -> bool:
    """Hand a text to tmux, which sends it `onwards` to the terminal; say whether it took it."""
    given = text.encode("utf-8", "replace")
    return _run("load-buffer", *(("-w",) if onwards else ()), "-", given=given) is not None


def _here() -> tuple[str, ...]:
    pane = os.environ.get("TMUX_PANE", "")
    return ("-t", pane) if pane else ()


def _run(*arguments: str, given: bytes = b"") -> str | None:
    try:
        # Never our own input: that is the terminal, which somebody types into.
        done = subprocess.run(["tmux", *arguments], input=given, capture_output=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None
