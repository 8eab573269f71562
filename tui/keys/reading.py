"""The keys that the settings wish: put in, and what was wrong with them told with file and line."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from backends.errors import Problem
from backends.shown import shown_path
from presets.toml_lines import Key, key_lines, line_of
from tui import settings
from tui.keys import now
from tui.keys.remap import Fault, remap
from tui.line import profile
from tui.words import _

_TOLD = 6
"""So many are told at the start; `doctor` tells all."""


class KeyProblem(Problem):
    """A wished key that is not used, or with `used` one that may not arrive.

    `source` is the file, `key` the id, `line` counts from 1.
    """

    def __init__(self, source: str, fault: Fault, line: int | None) -> None:
        self.source, self.key, self.line, self.used = source, fault.id, line, fault.used
        self.what, self.program = fault.what, fault.program
        place = f"{source}, line {line}" if line else source
        title = _("A key may not arrive") if fault.used else _("A key cannot be used")
        parts = (place, fault.id if fault.id not in fault.what else "", fault.what)
        super().__init__(title, ": ".join(part for part in parts if part), fault.hint)


def take(wished: Mapping[str, str]) -> tuple[KeyProblem, ...]:
    """Have the keys that settings wish from now on; return what is wrong with them. The table's stay there."""
    found = remap(wished)
    now.put(found.own)
    if not found.faults:
        return ()
    path = settings.settings_file()
    lines = _lines()
    return tuple(KeyProblem(shown_path(path), fault, _line(lines, fault.id)) for fault in found.faults)


def take_own() -> None:
    """Have the keys of the settings file. What is wrong with it is told by whoever is asked for that."""
    with contextlib.suppress(Problem):
        take(settings.load_settings({}).keys)


def told(problems: tuple[KeyProblem, ...]) -> Problem | None:
    """Return all of it as one, for the start; None where nothing is wrong.

    A key that is used and may not arrive is told where something is known to keep it: what a terminal sends is not.
    """
    through = profile.current().through
    problems = tuple(each for each in problems if not each.used or (each.program and each.program == through))
    if not problems:
        return None
    first = problems[0]
    if len(problems) == 1:
        return Problem(first.title, first.detail, first.hint)
    more = len(problems) - _TOLD
    lines = [" ".join(part for part in (f"{p.detail}.", p.hint) if part) for p in problems[:_TOLD]]
    if more > 0:
        lines.append(_("And {count} more: `deepseek-tui doctor` tells all of them.").format(count=more))
    return Problem(_("Some of your keys cannot be used as they are"), "\n".join(lines))


def _lines() -> dict[Key, int]:
    try:
        text = settings.settings_file().read_text(encoding="utf-8-sig").replace("\r\n", "\n")
        return key_lines(text)
    except (OSError, ValueError):
        return {}


def _line(lines: dict[Key, int], name: str) -> int | None:
    """Return the line of an id, whether it was written in quotes or as tables in tables."""
    exact = ("keys", name)
    return lines[exact] if exact in lines else line_of(lines, ("keys", *name.split(".")))
