"""`deepseek-tui` without a command: the full screen, or a conversation in plain lines."""

from __future__ import annotations

import argparse
import os

from backends.errors import Problem
from tui import terminal
from tui.commands import output

_NO_SCREEN = (
    "deepseek-tui: the screen needs a terminal, and this is none that it can draw on\n"
    'Ask without it: deepseek-tui ask "Why is the sky blue?"'
)
_NO_TERMINAL = (
    "deepseek-tui: a conversation needs somebody at a terminal, and here is none\n"
    'Ask without it: deepseek-tui ask "Why is the sky blue?"'
)
_OTHERWISE = (
    "Or talk in plain lines: deepseek-tui --profile plain\n"
    "On a terminal that can do more set TERM to what it is, for example TERM=xterm-256color."
)


def run(arguments: argparse.Namespace) -> int:
    """Open the screen, or talk in plain lines, and stay until it is left; return the exit status."""
    from tui import words
    from tui.line import profile
    from tui.line.whence import whence
    from tui.settings import Settings, load_settings

    wrong = None
    try:
        settings = load_settings()
    except Problem as problem:
        settings, wrong = Settings(), problem  # The screen tells what is wrong with them.
    wish = arguments.profile or settings.profile
    far = None if wish else whence(os.environ).far
    chosen = profile.decide(os.environ, wish, settings.colours, far=far)
    here = output.is_terminal(0) and output.is_terminal(1)
    if chosen.name == "plain" and not here:
        output.warn(_NO_TERMINAL)
        return output.USAGE
    if chosen.name != "plain" and not terminal.usable():
        output.warn(f"{_NO_SCREEN}\n{_OTHERWISE}" if here else _NO_SCREEN)
        return output.USAGE
    words.speak(settings.language)
    profile.choose(chosen)
    if chosen.name == "plain":
        from tui.commands import plain

        return plain.run(arguments, settings, wrong)
    from tui.keys import reading

    reading.take(settings.keys)
    from tui.app import run_app

    return run_app(arguments.preset, arguments.backend, arguments.chat, settings)
