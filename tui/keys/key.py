"""What the table of keys is made of."""

from __future__ import annotations

from typing import Literal

import msgspec

Place = Literal[
    "everywhere", "composer", "messages", "chats", "presets", "lists", "scroll", "help", "plan", "figures", "usage",
    "line", "search", "question", "fetch", "overflow", "edit", "choice", "name", "title", "asking",
]  # fmt: skip
"""Where keys mean something; "everywhere" is the chat screen, with whatever has focus in it."""


class Key(msgspec.Struct, frozen=True):
    """One thing that keys do, under an id that stays: settings name it.

    `keys` are Textual's names, comma-separated, and `action` is what Textual runs, "" where the place itself looks for
    the key. `help` says what it does and `label` the same in a word or two. `follows` is another id, whose keys do it
    too. `needed` must have a key. `beside` are ids that may have the same keys in the same place, because one of both
    lets the other go first. `first` has it come before what has focus.
    """

    id: str
    keys: str
    action: str
    help: str
    label: str = ""
    group: str = ""
    follows: str = ""
    needed: bool = False
    beside: tuple[str, ...] = ()
    first: bool = False


class Hint(msgspec.Struct, frozen=True):
    """What the key line says of some keys together: "d u delete, undo"."""

    ids: tuple[str, ...]
    label: str


class Area(msgspec.Struct, frozen=True):
    """The keys of one place. `typing` says that text is typed there, so that its keys must be none that types.

    `hints` are for the key line.
    """

    place: Place
    title: str
    keys: tuple[Key, ...]
    typing: bool = False
    hints: tuple[Hint, ...] = ()
