"""The same model where another program keeps it: offered wherever a preset's own is said not to be here."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

import msgspec

from backends.errors import Problem
from presets.found import find_models, match
from presets.schema import PresetEntry, source_for
from presets.sources import locate, parse
from tui.commands import output
from tui.settings import model_folders

_RUNS = "llama_cpp"
_PATIENCE_S = 3.0
"""What a list waits for places that are slow; what was read until then is remembered for the next one."""


class Elsewhere(msgspec.Struct, frozen=True):
    """A model that a preset could use; `use` is the command that lets it."""

    place: str
    name: str
    file: str
    size_bytes: int
    use: str


def elsewhere(entries: Iterable[PresetEntry]) -> dict[str, Elsewhere]:
    """Look for the models of presets that are not here, and return what was found, by the preset's name.

    Nothing is looked for where all are here.
    """
    wanting = [entry for entry in entries if _is_missing(entry)]
    if not wanting:
        return {}
    here = find_models(model_folders(), _PATIENCE_S).found
    offers = {}
    for entry in wanting:
        one = match(entry, here)
        if one is not None:
            use = shlex.join(["deepseek-tui", "presets", "use", entry.name])
            offers[entry.name] = Elsewhere(one.place, one.name, output.path_text(one.path), one.size, use)
    return offers


def offers(entries: Iterable[PresetEntry]) -> Iterator[str]:
    """Yield a line for each preset whose model is elsewhere on this machine."""
    for name, one in elsewhere(entries).items():
        yield offer(name, one)


def offer(name: str, one: Elsewhere) -> str:
    """Return the line that offers it."""
    return f"{name}: {one.place} has it ({one.name}): {one.use}"


def _is_missing(entry: PresetEntry) -> bool:
    """Say whether llama.cpp could run a preset if only its model were here."""
    if _RUNS not in entry.preset.backends:
        return False
    try:
        return locate(parse(source_for(entry.preset, _RUNS, name=entry.name))).present is False
    except Problem:
        return False
