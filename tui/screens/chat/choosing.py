"""The presets as the screen's keys and lists choose from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from backends.errors import Problem
from presets.catalog import Catalog, load_catalog
from presets.schema import PresetEntry, source_for
from presets.sources import HuggingFace, parse
from tui.chat.session import Session
from tui.chat.target import Target, resolve
from tui.screens.chat import lists
from tui.widgets.sidebar import PresetLine

if TYPE_CHECKING:
    from backends.ollama.wanted import OllamaPull
    from presets.plan import PresetPlan
    from tui.plans.brief import Held


class Presets:
    """A catalogue, and how long the models of its presets stay loaded where they do not say."""

    def __init__(self, catalog: Catalog, keep_alive_s: float | None = None) -> None:
        self.entries = catalog.entries
        self.titles = {entry.name: entry.preset.title for entry in catalog.entries}
        self._catalog = catalog
        self.keep_alive_s = keep_alive_s

    def again(self) -> Presets:
        """Read the presets anew, for a file of theirs has changed."""
        return Presets(load_catalog(), self.keep_alive_s)

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
        self,
        session: Session,
        plans: Mapping[str, PresetPlan] | None = None,
        held: Held | None = None,
        coming: Mapping[str, lists.Coming] | None = None,
    ) -> list[PresetLine]:
        """Return them as the sidebar lists them, with their plans as far as there are any.

        `coming` says of some how far their models are fetched.
        """
        chosen, loaded = session.target, session.loaded_target
        return lists.preset_lines(
            self._catalog,
            chosen.preset if chosen else "",
            chosen.spec.backend if chosen else "",
            loaded.preset if loaded else "",
            plans,
            held,
            coming,
        )

    def entry(self, name: str) -> PresetEntry | None:
        """Return the preset of this name, None if there is none or it is broken."""
        return next((entry for entry in self.entries if entry.name == name), None)


def source_of(entry: PresetEntry, backend: str) -> HuggingFace | None:
    """Return where a preset's model can be fetched from, None where nothing can be."""
    try:
        source = parse(source_for(entry.preset, backend, name=entry.name))
    except Problem:
        return None
    return source if isinstance(source, HuggingFace) else None


def wanted_of(entry: PresetEntry, backend: str) -> HuggingFace | OllamaPull | None:
    """Return what can be fetched for a preset's backend, also by its server; None where nothing can be."""
    from presets.pulling import wanted

    try:
        return wanted(entry, backend)
    except Problem:
        return None
