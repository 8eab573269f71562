"""The `/` commands of the composer: what keys do, by name. One line that begins with / is one, // is a text with a /.

The table speaks of keys by their ids, so that their help and a test that none is missing come from there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from tui.words import N_

Takes = Literal["", "preset", "chat"]
"""What stands after a command: nothing, the name of a preset, or words of a chat's title."""
_WORD = re.compile(r"/([a-z]+(?:-[a-z]+)*)(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)


class Command(msgspec.Struct, frozen=True):
    """One command. `does` is the id of the key that does the same, or a name of its own where none does.

    `help` is what it does where the table of keys does not say it.
    """

    name: str
    does: str
    takes: Takes = ""
    help: str = ""


class Call(msgspec.Struct, frozen=True):
    """A command as it was typed."""

    command: Command
    rest: str


class Named(msgspec.Struct, frozen=True):
    """The name of a command, and what stands behind it."""

    name: str
    rest: str


class Unknown(msgspec.Struct, frozen=True):
    """What looks like a command and is none, or not in this form; `near` are the names that may have been meant."""

    name: str
    near: tuple[str, ...] = ()


COMMANDS = (
    Command("preset", "preset", "preset", N_("Answer with this preset")),
    Command("chat", "chat", "chat", N_("Open the chat with these words in its title")),
    Command("new", "chat.new"),
    Command("find", "chat.find"),
    Command("system", "chat.asking"),
    Command("lists", "chat.lists"),
    Command("retry", "answer.retry"),
    Command("resume", "answer.resume"),
    Command("stop", "answer.stop"),
    Command("now", "answer.now"),
    Command("thought", "answer.thought"),
    Command("edit", "messages.edit"),
    Command("before", "messages.before"),
    Command("after", "messages.after"),
    Command("delete", "messages.delete"),
    Command("undo", "messages.undo"),
    Command("copy", "messages.copy"),
    Command("code", "messages.copy_code"),
    Command("copy-all", "messages.copy_all"),
    Command("export", "messages.export"),
    Command("rename", "chats.rename"),
    Command("pin", "chats.pin"),
    Command("archive", "chats.archive"),
    Command("archived", "archived", "", N_("Show the archived chats, or hide them")),
    Command("delete-chat", "chats.delete"),
    Command("backend", "preset.backend"),
    Command("free", "preset.free"),
    Command("edit-preset", "presets.edit", "preset"),
    Command("copy-preset", "presets.copy", "preset"),
    Command("delete-preset", "presets.delete", "preset"),
    Command("editor", "composer.editor"),
    Command("plan", "program.plan"),
    Command("figures", "program.figures"),
    Command("usage", "usage", "", N_("Tokens, energy and money over time")),
    Command("redraw", "redraw", "", N_("Draw all anew, where another program wrote over the screen")),
    Command("commands", "program.palette"),
    Command("help", "program.help"),
    Command("quit", "program.quit"),
)

BY_NAME = {command.name: command for command in COMMANDS}


def read(text: str) -> Call | Unknown | str:
    """Return the command that a text is, what it may have been meant for, or the text as it is to be sent."""
    found = named(text, BY_NAME)
    if not isinstance(found, Named):
        return found
    command = BY_NAME[found.name]
    if found.rest and not command.takes:
        return Unknown(found.name)
    return Call(command, found.rest)


def named(text: str, names: Collection[str]) -> Named | Unknown | str:
    """Return the one of the commands of these `names` that a text is, or what `read` returns otherwise.

    A text of several lines is none, and neither is one that begins with a path: "/etc/fstab says …".
    """
    stripped = text.strip()
    if stripped.startswith("//"):
        return text.replace("//", "/", 1)
    match = _WORD.fullmatch(stripped)
    if match is None or "\n" in stripped:
        return text
    name, rest = match[1].lower(), (match[2] or "").strip()
    return Named(name, rest) if name in names else Unknown(name, tuple(difflib.get_close_matches(name, names, 1)))


def offers(text: str, presets: Sequence[str], chats: Sequence[str]) -> list[str]:
    """Return what a text that is begun can become, the likeliest first; none where it is no command.

    `presets` are names, `chats` titles.
    """
    if not text.startswith("/") or text.startswith("//") or "\n" in text:
        return []
    name, blank, rest = text[1:].partition(" ")
    if not blank:
        found = [command for command in COMMANDS if command.name.startswith(name.lower())]
        return [f"/{command.name}{' ' if command.takes else ''}" for command in found]
    command = BY_NAME.get(name.lower())
    if command is None:
        return []
    words = rest.lower().split()
    match command.takes:
        case "preset":
            beginning = [each for each in presets if each.lower().startswith(rest.lower())]
            within = [each for each in presets if each not in beginning and all(word in each.lower() for word in words)]
            return [f"/{command.name} {each}" for each in beginning + within]
        case "chat":
            return [f"/{command.name} {each}" for each in chats if all(word in each.lower() for word in words)]
    return []
