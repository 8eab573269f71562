"""Which preset answers when none is named: the settings', the last one used, else the first that can run."""

from __future__ import annotations

from collections.abc import Iterator

from backends import paths
from backends.errors import Problem
from presets.catalog import Catalog, find, load_catalog
from presets.schema import PresetEntry
from tui.chat.store import Store
from tui.chat.target import Target, resolve
from tui.settings import Settings


def choose(preset: str | None, backend: str | None, settings: Settings, store: Store | None) -> Target:
    """Return who is to answer. Raises Problem: an unknown or broken preset, no model, no backend."""
    catalog = load_catalog()
    named = preset or settings.preset
    if named:
        return resolve(find(catalog, named), backend, settings.keep_alive_s)
    first: Problem | None = None
    for entry in _candidates(catalog, store):
        try:
            return resolve(entry, backend, settings.keep_alive_s)
        except Problem as problem:
            first = first or problem
    raise first or Problem("There is no preset", "", "`deepseek-tui presets check` tells what is wrong with yours.")


def _candidates(catalog: Catalog, store: Store | None) -> Iterator[PresetEntry]:
    """Yield the presets to try in order. Without `store` the conversations are opened only if there are any."""
    last: str | None = None
    if store is not None:
        last = _last_used(store)
    elif paths.database().exists():
        reading = Store()
        try:
            last = _last_used(reading)
        finally:
            reading.close()
    yield from (entry for entry in catalog.entries if entry.name == last)
    yield from (entry for entry in catalog.entries if entry.name != last)


def _last_used(store: Store) -> str | None:
    return next((chat.preset for chat in store.conversations(1)), None)
