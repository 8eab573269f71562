"""Questions that a command asks the person in front of it, and no program."""

from __future__ import annotations

import argparse

from tui.chat.clean import clean_line
from tui.commands import output


def somebody() -> bool:
    """Say whether anybody can be asked."""
    return output.is_terminal(0) and output.is_terminal(2)


def sure(question: str, arguments: argparse.Namespace) -> bool:
    """Ask, unless `--yes` has answered; without anybody to ask, that is wrong usage."""
    if arguments.yes:
        return True
    if not somebody():
        arguments.usage_error("nobody can be asked here: --yes answers")
    return answer(f"{question} [y/N] ", "").lower() in {"y", "yes"}


def answer(question: str, otherwise: str) -> str:
    """Return what is typed, `otherwise` for an empty line or none."""
    output.prompt(clean_line(question) + " ")
    try:
        return input().strip() or otherwise
    except EOFError:
        return otherwise


def add_yes(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--yes` to a command that asks."""
    parser.add_argument("-y", "--yes", action="store_true", help=what)
    parser.set_defaults(usage_error=parser.error)
