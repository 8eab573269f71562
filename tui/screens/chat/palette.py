"""What the palette offers of the chat screen: each preset, each key, and what has no key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

from textual.app import SystemCommand
from textual.markup import escape

from tui.chat.clean import clean_line
from tui.keys.everywhere import PRESETS
from tui.keys.table import AREAS
from tui.keys.words import every
from tui.screens.chat.choosing import Presets
from tui.words import _

_NOT_HERE = {"program.palette", "copy.selection"}


class Commanding(Protocol):
    """What has commands of its own."""

    def commands(self) -> Iterable[SystemCommand]: ...


def commands(
    presets: Presets,
    choose: Callable[[str], None],
    run: Callable[[str], None],
    first: Iterable[Commanding] = (),
    last: Iterable[Commanding] = (),
) -> Iterator[SystemCommand]:
    """Yield the commands, in between those of `first` and `last`; `run` takes an action.

    The palette reads titles as markup, so they are escaped.
    """
    for one in first:
        yield from one.commands()
    for entry in presets.entries:
        title, name = escape(clean_line(entry.preset.title)), entry.name
        yield SystemCommand(_("Preset: {title}").format(title=title), escape(clean_line(name)), partial(choose, name))
    for key in AREAS["everywhere"].keys:
        if key.group != PRESETS and not key.id.startswith("move.") and key.id not in _NOT_HERE:
            yield SystemCommand(_(key.help), every(key.id), partial(run, key.action))
    yield SystemCommand(_("Usage: tokens, energy, money"), _("By day, preset, backend or chat"), partial(run, "usage"))
    for one in last:
        yield from one.commands()
