"""The keys in words: in a sentence, in the key line, in the help."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tui.commands.table import cells
from tui.keys import names, now
from tui.keys.key import Hint, Place
from tui.keys.table import AREAS, KEYS, PLACES
from tui.words import _

_FIRST = ("program.help", "program.quit")
_SLOTS = tuple(name for name in KEYS if re.fullmatch(r"preset\.\d", name))
_LINE = (
    "program.plan", "program.figures", "answer.stop", "answer.retry", "answer.thought", "chat.new", "chat.find",
    "chat.lists", "preset.backend", "program.palette",
)  # fmt: skip
_LEFT_OUT_FIRST = (
    "program.palette", "answer.thought", "preset.backend", "answer.retry", "answer.stop", "chat.find",
    "program.figures", "program.plan", "chat.new", "chat.lists", "preset", "program.quit",
)  # fmt: skip
"""Where the window is narrow the key line leaves these out, in this order."""


class _Group:
    """The ids of one beginning, for `str.format`: `{answer.stop}` is `_Group("answer").stop`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, rest: str) -> str:
        return shown(f"{self._name}.{rest}")


_GROUPS = {name: _Group(name) for name in dict.fromkeys(key.partition(".")[0] for key in KEYS)}


def shown(name: str) -> str:
    """Return the key of an id as it is now, as short as it is written: "^r".

    Where it has none, the way through the palette. Raises KeyError for an id that there is not.
    """
    keys = now.of(name)
    if keys:
        return names.short(keys[0])
    palette = now.of("program.palette")
    if PLACES[name] != "everywhere" or not palette:
        return _("(no key)")
    key = KEYS[name]
    return _("{palette}, then “{command}”,").format(palette=names.short(palette[0]), command=_(key.help))


def filled(text: str, /, **values: object) -> str:
    """Return a sentence with its keys put in: "{answer.stop} stops it" is "Esc stops it". `values` as in `format`."""
    return text.format(**{**_GROUPS, **values})


def slot(number: int | None) -> str:
    """Return the key of a preset's slot as it is written, "" where it has none."""
    keys = now.of(f"preset.{number}") if number and f"preset.{number}" in KEYS else ()
    return names.short(keys[0]) if keys else ""


def slots(which: int = 0) -> str:
    """Return the first keys of all slots, or the ones after those, as short as it goes: "F2-7"."""
    keys = [names.short(bound[which]) for name in _SLOTS if len(bound := now.of(name)) > which]
    parts = [re.fullmatch(r"(\D*)(\d+)", key) for key in keys]
    numbers = [int(part[2]) for part in parts if part is not None]
    starts = {part[1] for part in parts if part is not None}
    row = list(range(numbers[0], numbers[0] + len(_SLOTS))) if numbers else []
    return f"{keys[0]}-{numbers[-1]}" if len(starts) == 1 and numbers == row else " ".join(keys)


def every(name: str) -> str:
    """Return all keys of an id as people write them: "F2 or Alt+1", "–" where it has none."""
    return _(" or ").join(names.long(key) for key in now.of(name)) or "–"


def key_line(width: int, place: Place | None = None) -> str:
    """Return the line at the bottom: the keys of a place, or those a newcomer needs, as many as fit into `width`."""
    if place is not None and AREAS[place].hints:
        return _hints_line(AREAS[place].hints, width)
    parts = {name: _part(name) for name in (*_FIRST, *_LINE)}
    slots_part = f"{slots()} {_('preset')}" if slots() else ""
    order = [*_FIRST, "preset", *_LINE]
    parts["preset"] = slots_part
    left_out: set[str] = set()
    for least in (*_LEFT_OUT_FIRST, ""):
        line = "  ".join(parts[name] for name in order if parts[name] and name not in left_out)
        if cells(line) <= width:
            break
        left_out.add(least)
    return line


def hint(hint: Hint) -> str:
    """Return what some keys do together: "d u delete, undo"; "" where none of them has a key."""
    keys = _firsts(hint.ids)
    return f"{keys} {_(hint.label)}" if keys else ""


def _hints_line(hints: Sequence[Hint], width: int) -> str:
    line = _part("program.help")
    for each in hints:
        part = hint(each)
        longer = f"{line}  {part}" if part else line
        if cells(longer) > width:
            break
        line = longer
    return line


def _firsts(ids: Sequence[str]) -> str:
    return " ".join(names.short(keys[0]) for name in ids if (keys := now.of(name)))


def _part(name: str) -> str:
    keys = now.of(name)
    return f"{names.short(keys[0])} {_(KEYS[name].label)}" if keys else ""
