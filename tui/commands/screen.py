"""`deepseek-tui` without a command: the full screen."""

from __future__ import annotations

import argparse
import os

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
    from tui import words
    from tui.keys import reading
    from tui.line import profile
    from tui.settings import Settings, load_settings

    try:
        settings = load_settings()
    except Problem:
        settings = Settings()  # The screen tells what is wrong with them.
    words.speak(settings.language)
    reading.take(settings.keys)
    profile.choose(profile.decide(os.environ, arguments.profile or settings.profile, settings.colours))
    from tui.app import run_app

    return run_app(arguments.preset, arguments.backend, arguments.chat, settings)
