"""`deepseek-tui --profile plain`: the conversation in plain lines, until it is left."""

from __future__ import annotations

import argparse

from backends.errors import Problem
from tui.commands import output
from tui.settings import Settings


def run(arguments: argparse.Namespace, settings: Settings, wrong: Problem | None = None) -> int:
    """Talk; return the exit status. `wrong` is what is wrong with the settings. Raises Problem."""
    from functools import partial

    from tui.line import clipboard, outlet, signals
    from tui.plain import hang_up, told
    from tui.plain.commands import complete
    from tui.plain.prompt import Prompt
    from tui.plain.speaking import say, steer
    from tui.plain.talk import Talk, Wish

    terminal = hang_up.Terminal()
    if wrong is not None:
        say(told.problem(wrong))
    outlet.to(steer)
    clipboard.choose(settings.clipboard)
    signals.choose(settings.done, title=False)
    talk = Talk(settings)
    hang_up.watch(terminal, talk.keep_draft)
    try:
        talk.begin(Wish(arguments.preset, arguments.backend, arguments.chat))
        talk.run(Prompt(partial(complete, talk)))
    finally:
        terminal.restore()
        talk.close()
    return output.DONE
