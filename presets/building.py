"""Making a preset's model out of an unquantised file instead of fetching it: from what, and what that takes.

Making and watching it is the job's, see `backends.llama_cpp.quantizing`; here a preset's `[build]` meets this machine.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from backends.errors import BackendError
from backends.hub.wanted import STAYS_FREE_BYTES
from backends.jobs.job import JobSpec, key_of
from backends.shown import size
from presets.built import built_file
from presets.sources import Located, Source, locate, parse

if TYPE_CHECKING:
    from presets.schema import PresetEntry

KIND = "quantize"
"""The kind of job that makes a model."""
_TIME = "quantize-seconds"
RUNS = "llama_cpp"
"""The backend that runs what is made."""


class Building(msgspec.Struct, frozen=True):
    """What a preset's own model would be made of, and what that takes. Sizes are in bytes, None where unknown.

    `located` is where the unquantised file is, `target` where the result will lie.
    """

    recipe: str
    source: Source
    written: str
    located: Located
    target: Path
    source_bytes: int | None
    result_bytes: int | None

    @property
    def to_fetch(self) -> int | None:
        """Return how much there is to fetch first."""
        return 0 if self.located.present else self.source_bytes

    @property
    def room_bytes(self) -> int | None:
        """Return how much has to be free for all of it, with what stays free for everything else."""
        if self.to_fetch is None or self.result_bytes is None:
            return None
        return self.to_fetch + self.result_bytes + STAYS_FREE_BYTES


def building(entry: PresetEntry) -> Building | None:
    """Return how a preset's model can be made, None for a preset that does not say. Reads headers of files here."""
    preset = entry.preset
    if preset.build is None:
        return None
    from presets.families import shape_by_rules

    source = parse(preset.build.source)
    located = locate(source)
    made = shape_by_rules(preset.model.family, preset.build.recipe)
    return Building(
        preset.build.recipe,
        source,
        preset.build.source,
        located,
        built_file(preset.model.family, preset.build.recipe),
        _source_bytes(source, located, preset.model.family),
        made.weight_bytes if made is not None else None,
    )


def takes(found: Building) -> str:
    """Say what making it takes: "65.5 GB to fetch, 15.7 GB made of them, 82.3 GB free needed"; "" if unknown."""
    parts = []
    if found.to_fetch:
        parts.append(f"{size(found.to_fetch)} to fetch")
    if found.result_bytes is not None:
        parts.append(f"{size(found.result_bytes)} made of {'them' if found.to_fetch else 'what is here'}")
    if found.room_bytes is not None:
        parts.append(f"{size(found.room_bytes)} free needed")
    return ", ".join(parts)


def seconds_to_make(entry: PresetEntry) -> float | None:
    """Return how long making a preset's model takes here, without the fetch; None where that cannot be said.

    What was not measured yet is measured: a second of all processors. It is kept only if they had nothing else to do,
    such as an answer that is being written. Blocks.
    """
    from backends import remembered
    from backends.gguf.mixing import recipe_text, types_by_rules
    from backends.llama_cpp.quantizing.unseen import estimate_unseen
    from presets.families import dimensions
    from presets.recipes import known_recipe

    found = building(entry)
    model = dimensions(entry.preset.model.family)
    mix = known_recipe(found.recipe) if found is not None else None
    if found is None or model is None or mix is None or found.source_bytes is None:
        return None
    key = f"{entry.preset.model.family} {recipe_text(mix)}"
    known = remembered.read(_TIME, key)
    if isinstance(known, int | float) and known > 0:
        return float(known)
    try:
        choices = types_by_rules(mix, model, importance=False)
    except BackendError:
        return None
    told = estimate_unseen(choices, found.source_bytes, found.target.parent, importance=False)
    if told.seconds is not None and not _busy():
        remembered.write(_TIME, key, round(told.seconds))
    return told.seconds


def _busy() -> bool:
    """Say whether the processors have more than half of their time for others; not, where that cannot be told."""
    from backends.hardware.cpu_limits import usable_cpus

    try:
        return os.getloadavg()[0] > usable_cpus() / 2
    except OSError:
        return False


def with_building(located: Located, entry: PresetEntry, backend: str) -> Located:
    """Return where a preset's model is, with the other way to it in the hint where it is not here."""
    if located.present is not False or entry.preset.build is None or backend != RUNS:
        return located
    found = building(entry)
    if found is None:
        return located
    told = ", ".join(part for part in (f"by {found.recipe}", takes(found)) if part)
    command = shlex.join(["deepseek-tui", "quantize", entry.name])
    hint = f"{located.hint}   Or make it: {command} ({told})".strip()
    return msgspec.structs.replace(located, hint=hint)


def job_key(target: Path) -> str:
    """Return the key of the job that makes a file, whether there is one or not.

    The links in its folder are followed, as by `backends.llama_cpp.quantizing.wanted.resolved`: one file, one job.
    """
    path = Path(os.path.normpath(target.absolute()))
    return key_of(JobSpec(KIND, str(path.parent.resolve() / path.name), ""))


def _source_bytes(source: Source, located: Located, family: str) -> int | None:
    from backends.errors import Problem
    from presets.drafting import quantization_in
    from presets.schema import ModelInfo
    from presets.shapes import known_shape

    try:
        known = known_shape(source, located, ModelInfo(family, quantization_in(getattr(source, "file", ""))))
    except Problem:
        return None
    return None if known is None else known.shape.file_bytes or known.shape.weight_bytes
