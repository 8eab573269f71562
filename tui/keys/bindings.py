"""The table of keys as Textual's bindings."""

from __future__ import annotations

from textual.binding import Binding, BindingType

from tui.keys import now
from tui.keys.key import Place
from tui.keys.table import AREAS, KEYS


def bindings(*places: Place) -> list[BindingType]:
    """Return the bindings of places, by the table; the settings' keys are put over them when the program starts."""
    return [_binding(key.id) for place in places for key in AREAS[place].keys if key.action and key.id != PALETTE]


def palette() -> list[BindingType]:
    """Return the binding of the palette, which is the program's and not a screen's."""
    return [_binding(PALETTE)]


PALETTE = "program.palette"


def _binding(name: str) -> Binding:
    key = KEYS[name]
    keys = ",".join(now.effective(name, {})) or now.UNBOUND
    return Binding(keys, key.action, key.label or key.help, show=False, id=name, tooltip=key.help, priority=key.first)
