"""The presets as the screen's keys and lists choose from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from presets.catalog import Catalog
from presets.schema import PresetEntry
from tui.chat.session import Session
from tui.chat.target import Target, resolve
from tui.screens.chat import lists
from tui.widgets.sidebar import PresetLine

if TYPE_CHECKING:
    from presets.plan import PresetPlan
    from tui.plans.brief import Held


class Presets:
    """A catalogue, and how long the models of its presets stay loaded where they do not say."""

    def __init__(self, catalog: Catalog, keep_alive_s: float | None = None) -> None:
        self.entries = catalog.entries
        self.titles = {entry.name: entry.preset.title for entry in catalog.entries}
        self._catalog = catalog
        self.keep_alive_s = keep_alive_s

    def target(self, name: str, backend: str | None = None) -> Target | None:
        """Return a preset as a target, None if there is none of this name. Raises Problem."""
        entry = self.entry(name)
        if entry is not None:
            return resolve(entry, backend, self.keep_alive_s)
        broken = next((problem for problem in self._catalog.problems if problem.name == name), None)
        if broken is not None:
            raise broken
        return None

    def in_slot(self, slot: int) -> str:
        """Return the name of the preset that has a key, "" if none has."""
        return next((entry.name for entry in self.entries if entry.preset.slot == slot), "")

    def lines(
        self, session: Session, plans: Mapping[str, PresetPlan] | None = None, held: Held | None = None
    ) -> list[PresetLine]:
        """Return them as the sidebar lists them, with their plans as far as there are any."""
        chosen, loaded = session.target, session.loaded_target
        return lists.preset_lines(
            self._catalog,
            chosen.preset if chosen else "",
            chosen.spec.backend if chosen else "",
            loaded.preset if loaded else "",
            plans,
            held,
        )

    def entry(self, name: str) -> PresetEntry | None:
        """Return the preset of this name, None if there is none or it is broken."""
        return next((entry for entry in self.entries if entry.name == name), None)
