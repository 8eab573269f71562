"""What can be said about a preset before it is loaded: what fits, how fast, and what was published and measured.

The arithmetic is in `backends.planning`; here a preset's options meet its model's shape and a machine.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from backends import runs
from backends.errors import Problem
from backends.gguf.shape import Shape
from backends.hardware.machine import Card, Machine
from backends.planning import learned, reached
from backends.planning.choice import ground
from backends.planning.fit import fit
from backends.planning.result import MARGIN_BYTES, Fit, Wishes
from backends.quality import kept
from backends.quality.figures import Quality
from backends.shown import size
from backends.titles import backend_title
from presets import families
from presets.building import with_building
from presets.schema import PresetEntry, Published, options_for, source_for
from presets.shapes import Known, known_shape
from presets.sources import Located, locate, parse

USUAL, LEAST = "Q4_K_M", "Q3_K_S"
"""Of a smaller model: the quantisation that most people take, and the one that nobody takes less of instead."""
MIXES, PLAIN = ("mixed-4-3", "mixed-3-4", "attention-4"), "Q3_K_S"
"""Quantisations of our own recipes, see `presets/recipes`, and what their rest is made as."""
PLANNED = "llama_cpp"
"""The backend that is planned for: the others place a model themselves, when they load it."""


class PresetPlan(msgspec.Struct, frozen=True):
    """One preset with one backend on one machine.

    `fit` is None where nothing can be planned, and `problem` and `hint` say why and what to do. `known` is the model's
    shape and where it is from. `published` and `measured` are the other two columns: None where there is nothing.
    `loss` is what was measured here of what quantising has cost this very file.
    """

    name: str
    title: str
    backend: str
    family: str
    quantization: str
    located: Located
    known: Known | None = None
    fit: Fit | None = None
    published: Published | None = None
    measured: runs.Measured | None = None
    warnings: tuple[str, ...] = ()
    problem: str = ""
    hint: str = ""
    loss: Quality | None = None

    @property
    def size_bytes(self) -> int | None:
        """Return the model's size: of what is here, with all its parts, else of what would be fetched."""
        if self.known is not None and self.known.origin == "file":
            return self.known.shape.file_bytes
        if self.located.size is not None:
            return self.located.size
        return self.known.shape.weight_bytes if self.known is not None else None

    @property
    def measured_speed(self) -> float | None:
        """Return the measured tokens a second, None where another number of layers would be on the card now."""
        measured = self.measured
        if measured is None or (self.fit is not None and measured.gpu_layers not in (None, self.fit.gpu_layers)):
            return None
        return measured.tokens_per_second


def plan_preset(
    entry: PresetEntry,
    machine: Machine,
    backend: str | None = None,
    *,
    context: int | None = None,
    here: bool = True,
    card_usable: bool = True,
) -> PresetPlan:
    """Plan a preset; its problems are told in the plan, and none is raised.

    `here` says that `machine` is this one: then what was learned and measured on it counts. `card_usable` is False
    where the engine's build leaves cards idle. Uses no network.
    """
    preset = entry.preset
    chosen = backend or preset.backend
    plan = PresetPlan(
        entry.name,
        preset.title,
        chosen,
        preset.model.family,
        preset.model.quantization,
        Located(),
        published=preset.published,
    )
    try:
        options = options_for(preset, chosen, name=entry.name)
        source = parse(source_for(preset, chosen, name=entry.name))
        located = with_building(locate(source), entry, chosen)
        plan = msgspec.structs.replace(plan, located=located)
        if here and located.model:
            plan = msgspec.structs.replace(plan, measured=runs.recall(chosen, located.model, options))
        if here and located.present and located.path is not None:
            plan = msgspec.structs.replace(plan, loss=kept.best(located.path))
        if chosen != PLANNED:
            name = backend_title(chosen)
            return msgspec.structs.replace(plan, problem=f"{name} places the model itself, when it loads it")
        known = known_shape(source, located, preset.model)
    except Problem as problem:
        return msgspec.structs.replace(plan, problem=str(problem), hint=problem.hint)
    if known is None:
        return msgspec.structs.replace(
            plan,
            problem=f"Nothing is known yet of the layers of {preset.model.family} {preset.model.quantization}",
            hint=located.hint,
        )
    return _planned(plan, known, options, context, machine, here=here, card_usable=card_usable)


def _planned(
    plan: PresetPlan,
    known: Known,
    options: dict[str, Any],
    context: int | None,
    machine: Machine,
    *,
    here: bool,
    card_usable: bool,
) -> PresetPlan:
    others = tuple(_other_quantizations(plan.family, known.shape.quantization or plan.quantization))
    smaller = _smaller_models(plan.family)
    used = machine if card_usable else msgspec.structs.replace(machine, gpus=())
    wishes = wishes_for(options, known.shape, used, here=here)
    if context is not None:
        wishes = msgspec.structs.replace(wishes, context=context)
    found = fit(known.shape, used, wishes, others, smaller)
    warnings = found.warnings
    if not card_usable and machine.gpus and options.get("gpu_layers") != 0:
        warnings = (_idle_card(fit(known.shape, machine, wishes), machine), *warnings)
    if plan.measured is not None and _of_another_card(plan.measured, found, used):
        plan = msgspec.structs.replace(plan, measured=None)
    return msgspec.structs.replace(plan, known=known, fit=found, warnings=warnings)


def _of_another_card(measured: runs.Measured, found: Fit, machine: Machine) -> bool:
    """Say whether it was measured on a card that is not the one to be used. NVIDIA's engine and driver share names."""
    if not measured.gpu_layers or not measured.device or found.card is None:
        return False
    card = machine.gpus[found.card]
    return card.driver.startswith("nvidia") and not measured.device.startswith(card.name)


def wishes_for(options: dict[str, Any], shape: Shape, machine: Machine, *, here: bool = True) -> Wishes:
    """Return a preset's options for llama.cpp as the plan takes them."""
    layers = options["gpu_layers"]
    if layers != "auto":
        # The engine counts the output layer first, and negative is everything.
        layers = shape.layers if layers < 0 else max(0, layers - 1)
    card = _card(machine) if here else None
    overhead = learned.overhead_bytes(card.name) if card is not None else None
    # Only Linux lets the engine's host tell its page cache what comes next, and what is over.
    elsewhere = here and sys.platform != "linux"
    return Wishes(
        context=options["context"],
        kv_cache=options["kv_cache"],
        flash_attention=options["flash_attention"],
        gpu_layers=layers,
        ubatch=min(options["batch"], options["ubatch"]),
        mmap=options["mmap"],
        margin_bytes=learned.margin_bytes(card.name, overhead) if card is not None else MARGIN_BYTES,
        card_overhead_bytes=overhead,
        card_reached=reached.recall(card.name) if card is not None else None,
        memory_reached=reached.recall(reached.MEMORY) if here else None,
        disk_reached=reached.recall_disk(machine.disk) if here else None,
        hold_bytes=0 if elsewhere else None if options["hold_gib"] == "auto" else round(options["hold_gib"] * 2**30),
        read_ahead=not elsewhere and options["read_ahead"] != "off",
    )


def _card(machine: Machine) -> Card | None:
    place = ground(machine).card
    return None if place is None else machine.gpus[place]


def _other_quantizations(family: str, own: str) -> Iterator[Shape]:
    """Yield the quantisations worth naming: none of them both larger than another and, as published, no better.

    Of those that we make, nobody has published anything: they are named beside what they are made from.
    """
    best, yielded = math.inf, set()
    for shape, loss in _published(family):
        if loss < best:
            best = loss
            yielded.add(shape.quantization)
            if shape.quantization != own:
                yield shape
    for name in (*MIXES, PLAIN):
        other = families.shape_by_rules(family, name)
        if other is not None and name != own and name not in yielded:
            yield other


def _published(family: str) -> list[tuple[Shape, float]]:
    """Return the quantisations of a family with their published loss, the smallest first."""
    found = [
        (shape, quality.kld)
        for name in families.quantizations(family)
        if (shape := families.shape_by_rules(family, name)) is not None and (quality := families.quality(name))
    ]
    return sorted(found, key=lambda one: (one[0].weight_bytes, one[1]))


def _smaller_models(family: str) -> Iterator[tuple[str, tuple[Shape, ...]]]:
    """Yield the models before this one, the next smaller first, with the usual quantisation and those worth naming."""
    names = families.families()
    plain = family.strip().rpartition("/")[2].casefold()
    own = next((place for place, name in enumerate(names) if name.casefold() == plain), 0)
    for name in reversed(names[:own]):
        usual = families.shape_by_rules(name, USUAL)
        worse = families.quality(LEAST)
        bound = worse.kld if worse is not None else math.inf
        good = [shape for shape, loss in _published(name) if loss <= bound and shape.quantization != USUAL]
        if usual is not None:
            yield name, (usual, *good)


def _idle_card(with_card: Fit, machine: Machine) -> str:
    card = _card(machine)
    speed = with_card.tokens_per_second
    text = f"This build of llama.cpp leaves {card.name if card else 'the card'} idle."
    if not with_card.output_on_card:
        return f"{text} Just now there would be no room for the model either."
    text += f" With one for it {with_card.gpu_layers} of {with_card.layers} layers would be there"
    mark = "≤" if with_card.only_a_bound else "~"
    return f"{text}, for {mark}{rate(speed)} tokens/s." if speed is not None else f"{text}."


class Outlook(msgspec.Struct, frozen=True):
    """A line about a preset with one backend, before anything is planned.

    `ready` says that nothing is known to be in the way; `hint` is the next step where something is. `size_bytes` is the
    model's size, None where unknown.
    """

    line: str
    ready: bool
    hint: str = ""
    size_bytes: int | None = None


def outlook(entry: PresetEntry, backend: str, located: Located) -> Outlook:
    """Say whether `entry` can be started with `backend`, given where its model is."""
    parts = [backend_title(backend)]
    if backend not in entry.preset.backends:
        hint = f"This preset can run with: {', '.join(entry.preset.backends)}."
        return Outlook(" · ".join([*parts, "not in this preset"]), ready=False, hint=hint)
    if located.size is not None:
        parts.append(size(located.size))
    if located.present:
        parts.append("ready")
    elif located.detail:
        parts.append(located.detail)
    # Where only a server knows, asking it is the way to find out.
    ready = located.present is not False
    return Outlook(" · ".join(parts), ready, "" if located.present else located.hint, located.size)


def rate(speed: float) -> str:
    """Return a speed in as many figures as it deserves: 36, 9.4, 0.3."""
    return f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}" if speed >= 0.1 else f"{speed:.2g}"
