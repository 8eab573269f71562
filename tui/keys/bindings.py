"""The table of keys as Textual's bindings."""

from __future__ import annotations

from textual.binding import Binding, BindingType

from tui.keys import now
from tui.keys.key import Place
from tui.keys.table import AREAS, KEYS


def bindings(*places: Place) -> list[BindingType]:
    """Return the bindings of places, by the table; the settings' keys are put over them when the program starts."""
    keys = (key for place in places for key in AREAS[place].keys)
    return [_binding(key.id) for key in keys if key.action and key.id not in OF_PROGRAM]


def of_program() -> list[BindingType]:
    """Return the bindings that are the program's and no screen's: they hold over every view."""
    return [_binding(name) for name in OF_PROGRAM]


OF_PROGRAM = ("program.palette", "program.quit")


def _binding(name: str) -> Binding:
    key = KEYS[name]
    keys = ",".join(now.effective(name, {})) or now.UNBOUND
    return Binding(keys, key.action, key.label or key.help, show=False, id=name, tooltip=key.help, priority=key.first)
