"""What a machine would do with what a recipe makes, beside plain quantisations of the same model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from backends.gguf.shape import Shape
from backends.hardware.machine import Machine
from backends.planning.fit import fit
from backends.planning.result import Fit
from presets import families
from presets.drafting import CONTEXT
from presets.outcome import Outcome
from presets.plan import PLANNED, wishes_for
from presets.schema import PresetEntry, options_for, registered_options

_DEFAULT = {"kv_cache": "q8_0"}
"""What a preset gets that is written for a model."""


class Row(msgspec.Struct, frozen=True):
    """One quantisation on the machine. `size_bytes` is the file's where it is known, else the sum of its weights."""

    quantization: str
    size_bytes: int
    bits_per_weight: float
    fit: Fit
    quality: families.Quality | None


def rows(
    outcome: Outcome, entry: PresetEntry | None, machine: Machine, *, here: bool, card_usable: bool
) -> Iterator[Row]:
    """Yield what is made first, then what it is to be compared with, run with the preset's options or usual ones."""
    used = machine if card_usable else msgspec.structs.replace(machine, gpus=())
    options = options_of(entry, outcome.shape)
    for shape in (outcome.shape, *outcome.beside):
        wishes = wishes_for(options, shape, used, here=here)
        size = outcome.size_bytes if shape is outcome.shape else shape.file_bytes or shape.weight_bytes
        name = outcome.mix.name if shape is outcome.shape else shape.quantization
        yield Row(name, size, shape.bits_per_weight, fit(shape, used, wishes), families.quality(name))


def options_of(entry: PresetEntry | None, shape: Shape) -> dict[str, Any]:
    """Return the options with which the result would run. Raises PresetError for a preset with wrong ones."""
    if entry is not None and PLANNED in entry.preset.backends:
        return options_for(entry.preset, PLANNED, name=entry.name)
    context = min(CONTEXT, shape.context_length or CONTEXT)
    plain: dict[str, Any] = msgspec.to_builtins(registered_options(PLANNED)(context=context, **_DEFAULT))
    return plain
