"""What `ask` is told to ask of the model in place of its preset: a system prompt, sampling, a context."""

from __future__ import annotations

import argparse
import os
from typing import Any

import msgspec

from backends.errors import Problem
from backends.shown import printable
from tui.chat.asking import MOST_CHARACTERS, NUMBERS, Asking, BadAsking, read_number, read_system
from tui.words import _

_FILE = "@"
_MOST_BYTES = 4 * MOST_CHARACTERS + 1


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    group = subparser.add_argument_group(
        "what the chat asks of the model", 'Kept with the chat, in place of what the preset says; "" leaves it to that.'
    )
    group.add_argument("--system", metavar="TEXT|@FILE", help="a system prompt: told to the model before all else")
    for name, metavar, what in (
        ("temperature", "T", "how freely the next token is chosen, 0 to 10"),
        ("top_p", "P", "from the likeliest tokens that make up this share, 0 to 1"),
        ("seed", "N", "the same answer again, where the backend can do that"),
        ("max_tokens", "N", "at most so many tokens in an answer"),
        ("context", "N", "load the model with a context of so many tokens"),
    ):
        group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=what)


def wished(arguments: argparse.Namespace, before: Asking) -> Asking:
    """Return what a chat asks for then: what it asked for `before`, and what the arguments say in its place.

    Ends the program where a number is wrong. Raises Problem for a system prompt that cannot be read or sent.
    """
    said: dict[str, Any] = {}
    for name in NUMBERS:
        text = getattr(arguments, name)
        if text is not None:
            try:
                said[name] = read_number(name, text)
            except BadAsking as wrong:
                arguments.usage_error(f"argument --{name.replace('_', '-')}: {wrong.detail}")
    if arguments.system is not None:
        said["system"] = read_system(_text(arguments.system))
    return msgspec.structs.replace(before, **said)


def _text(said: str) -> str:
    """Return a system prompt as it is said, or what the file holds that is named. Raises Problem."""
    if not said.startswith(_FILE):
        return said
    path = os.path.expanduser(said.removeprefix(_FILE))  # noqa: PTH111 - a Path would change what is told
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - likewise
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _unread(path, why) from error
    if len(content) > _MOST_BYTES:
        raise _unread(path, _("It is too long: at most {most:,} characters are sent.").format(most=MOST_CHARACTERS))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unread(path, _("It is not UTF-8 text: byte {byte}.").format(byte=error.start + 1)) from error


def _unread(path: str, why: str) -> Problem:
    hint = _("Name a file with text in UTF-8, or give the text itself.")
    return Problem(_("The system prompt cannot be read"), f"{printable(path)}: {why}", hint)
