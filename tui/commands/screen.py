"""`deepseek-tui` without a command: the full screen."""

from __future__ import annotations

import argparse

from backends.errors import Problem
from tui import terminal
from tui.commands import output


def run(arguments: argparse.Namespace) -> int:
    """Open the screen and stay until it is left; return its exit status."""
    if not terminal.usable():
        output.warn(
            "deepseek-tui: the screen needs a terminal, and this is none that it can draw on\n"
            'Ask without it: deepseek-tui ask "Why is the sky blue?"\n'
            "On a real terminal set TERM to what it is, for example TERM=xterm-256color."
        )
        return output.USAGE
    from tui.app import run_app
    from tui.settings import load_settings

    try:
        theme = load_settings().theme
    except Problem:
        theme = ""  # The screen tells what is wrong with the settings.
    return run_app(arguments.preset, arguments.backend, arguments.chat, theme)
