"""What a recipe makes of a model, before any of it is done: exactly for a file of this machine, else by rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from backends.errors import BackendError, Problem
from backends.gguf.files import read_headers, read_shape
from backends.gguf.mixes import Choice, Mix
from backends.gguf.mixing import (
    fallbacks,
    idle_rules,
    recipe_text,
    requantized,
    shape_by_mix,
    shape_of_mix,
    size_of,
    types_by_rules,
    types_of,
)
from backends.gguf.reader import Header
from backends.gguf.shape import RECIPE_KEY, Shape
from backends.shown import printable
from presets.families import dimensions, shape_by_rules
from presets.recipes import find_recipe

BESIDE = ("Q3_K_S", "IQ3_M")
"""Plain quantisations of about the size of our mixes, which are what a mix has to be better than."""


class Outcome(msgspec.Struct, frozen=True):
    """What comes out, tensor by tensor in `choices`. `exact` says that the size is the file's, in bytes.

    `types` are the bytes by type, the largest first. `fell_back` are the tensors whose rows cannot have the type that
    was wanted, `twice` those that were quantised already and would lose a second time. `idle` are the numbers, from 0,
    of the recipe's rules that decide nothing. `beside` are the plain quantisations that it is to be compared with.
    """

    mix: Mix
    family: str
    shape: Shape
    size_bytes: int
    source_bytes: int
    exact: bool
    types: tuple[tuple[str, int], ...]
    beside: tuple[Shape, ...]
    fell_back: tuple[Choice, ...] = ()
    twice: tuple[Choice, ...] = ()
    idle: tuple[int, ...] = ()
    source: Shape | None = None
    choices: tuple[Choice, ...] = ()

    @property
    def bits_per_weight(self) -> float:
        return self.shape.bits_per_weight


def outcome_of_file(path: Path, mix: Mix, family: str, *, importance: bool) -> Outcome:
    """Say what a recipe makes of a file, or of the parts of a split one.

    Raises ModelNotFound and BadModelFile for what is no model or cannot be mixed, BadOptions for a recipe that cannot
    be used for it.
    """
    source, headers = read_shape(path), tuple(read_headers(path).values())
    choices = types_of(mix, headers, importance=importance)
    shape = shape_of_mix(mix, headers, choices)
    return Outcome(
        mix,
        family,
        shape,
        size_of(choices, headers, {RECIPE_KEY: recipe_text(mix)}),
        source.file_bytes or source.weight_bytes,
        exact=True,
        types=_types(choices),
        beside=tuple(_beside(headers, mix)),
        choices=choices,
        fell_back=fallbacks(choices),
        twice=requantized(choices),
        idle=_idle(mix, shape, choices),
        source=source,
    )


def outcome_by_rules(family: str, mix: Mix, source_quantization: str, *, importance: bool) -> Outcome:
    """Say what a recipe makes of a model that is not here.

    Raises Problem for a model of which nothing is known, BadOptions for a recipe that cannot be used for it.
    """
    model, source = dimensions(family), shape_by_rules(family, source_quantization or "F16")
    if model is None or source is None:
        raise Problem(
            f"Nothing is known yet of the layers of {printable(family) or 'this model'}",
            "Its file is not here, and it is none of the models whose layers this program knows by heart.",
            "Fetch it first.",
        )
    shape = shape_by_mix(mix, model, family, importance=importance)
    choices = types_by_rules(mix, model, importance=importance)
    plain = (shape_by_rules(family, name) for name in BESIDE if name != mix.name)
    return Outcome(
        mix,
        family,
        shape,
        shape.weight_bytes,
        source.weight_bytes,
        exact=False,
        types=shape.type_bytes,
        beside=tuple(one for one in plain if one is not None),
        fell_back=fallbacks(choices),
        idle=_idle(mix, shape, choices),
        choices=choices,
    )


def _idle(mix: Mix, shape: Shape, choices: Sequence[Choice]) -> tuple[int, ...]:
    names = (choice.name.split(".") for choice in choices if choice.why != "kept")
    matrices = {parts[2] for parts in names if len(parts) == 4 and parts[0] == "blk"}
    return idle_rules(mix, shape.layers, sorted(matrices))


def _types(choices: Sequence[Choice]) -> tuple[tuple[str, int], ...]:
    counted: Counter[str] = Counter()
    for choice in choices:
        counted[choice.after] += choice.after_bytes
    return tuple(counted.most_common())


def _beside(headers: Sequence[Header], mix: Mix) -> Iterator[Shape]:
    """Yield the same model in plain quantisations, as publishers make them: with an importance matrix."""
    for name in BESIDE:
        if name != mix.name:
            try:
                plain = find_recipe(name)
                shape = shape_of_mix(plain, headers, types_of(plain, headers, importance=True))
            except BackendError:
                continue
            yield msgspec.structs.replace(shape, quantization=name)
