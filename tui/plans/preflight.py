"""Before a model is loaded: what will be worse than it could be here, and what would help. It blocks nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from backends.planning.result import Fit
from presets.plan import PresetPlan
from tui.keys.words import filled
from tui.plans.looking import Holder
from tui.plans.told import predicted
from tui.units import DASH, memory
from tui.words import _

NAMED = 3
"""So many processes are named, those that hold most."""


class Preflight(msgspec.Struct, frozen=True):
    """`short` is for a line that is seen in passing, `sentences` tell all of it."""

    short: str
    sentences: tuple[str, ...]


def preflight(
    plan: PresetPlan, alone: PresetPlan | None = None, holders: Sequence[Holder] = (), key: str = ""
) -> Preflight | None:
    """Say what is to be known before a preset is loaded, None if nothing is.

    `alone` is the same plan as if nobody else were on the card, `holders` are who is, and `key` chooses the preset.
    """
    found = plan.fit
    if found is None:
        return None
    told = [*_too_many(plan, found, alone, holders, key), *_crowded(plan, found, alone, holders, key)]
    told += _memory(plan, found)
    return Preflight(told[0][0], tuple(sentence for _, sentence in told)) if told else None


def _too_many(
    plan: PresetPlan, found: Fit, alone: PresetPlan | None, holders: Sequence[Holder], key: str
) -> Iterator[tuple[str, str]]:
    """A number of layers that was asked for and is not to be had."""
    vram, best = found.bytes.vram, alone.fit if alone is not None else None
    if found.card is None or vram.free is None or vram.total <= vram.free:
        return
    layers = _layers(found.gpu_layers)
    advice = 'gpu_layers = "auto" in the preset takes as many as fit.'
    if best is not None and best.fits and best.bytes.vram.free is not None:
        advice = f"{_others(best.bytes.vram.free - vram.free, holders, key)} Or {advice}"
    yield (
        f"{layers} do not fit on the card: {memory(vram.total)} needed, {memory(vram.free)} free",
        f"{plan.title} asks for {layers} on the card. They need {memory(vram.total)}, and {memory(vram.free)} are "
        f"free: loading may fail, or put fewer there. {advice}",
    )


def _crowded(
    plan: PresetPlan, found: Fit, alone: PresetPlan | None, holders: Sequence[Holder], key: str
) -> Iterator[tuple[str, str]]:
    """Fewer layers than there could be, because others are on the card."""
    best = alone.fit if alone is not None else None
    vram = found.bytes.vram
    if best is None or best.gpu_layers <= found.gpu_layers or vram.free is None or best.bytes.vram.free is None:
        return
    taken = best.bytes.vram.free - vram.free
    needed = best.bytes.vram.total + best.bytes.vram.margin
    instead = f"{_layers(found.gpu_layers)} {'goes' if found.gpu_layers == 1 else 'go'} there instead"
    if not found.output_on_card:
        instead = "the CPU computes everything instead"
    speeds = ""
    if found.tokens_per_second is not None or best.tokens_per_second is not None:
        now, then = predicted(found), predicted(best)
        speeds = f" ({now} instead of {then} tok/s)" if DASH not in (now, then) else ""
    margin = f", {memory(best.bytes.vram.margin)} of it to stay free" if best.bytes.vram.margin else ""
    yield (
        f"{found.gpu_layers} instead of {best.gpu_layers} layers on the card: others hold {memory(taken)} of it",
        f"{plan.title} needs {memory(needed)} of the card for {_layers(best.gpu_layers)}{margin}, and "
        f"{memory(vram.free)} are free: {instead}{speeds}. {_others(taken, holders, key)} Or go on.",
    )


def _memory(plan: PresetPlan, found: Fit) -> Iterator[tuple[str, str]]:
    """Main memory that is too small, for what a file can hold for it and for what none can."""
    ram, ssd = found.bytes.ram, found.bytes.ssd.total
    if ram.free is None or ram.total <= ram.free:
        return
    needs = f"{plan.title} needs {memory(ram.total)} of main memory, and {memory(ram.free)} are available"
    smaller = filled(_("A smaller context or quantisation helps; {program.plan} shows which."))
    if ssd:
        speed = f", for {predicted(found)} tok/s" if found.tokens_per_second is not None else ""
        yield (
            f"each token reads {memory(ssd)} from the disk: main memory is too small for it",
            f"{needs}: each token may read all {memory(ssd)} of it from the disk again{speed}. {smaller}",
        )
    elif not found.fits:
        yield (
            f"main memory is short by {memory(ram.total - ram.free)}",
            f"{needs}: the system would swap, or end it. Close something. {smaller}",
        )


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _others(taken: int, holders: Sequence[Holder], key: str) -> str:
    """Say what others hold of the card, who they are as far as it is told, and what helps."""
    again = (
        filled(_("{preset.free} and {key} load it anew"), key=key)
        if key
        else filled(_("{preset.free} frees it, and choosing it again loads it anew"))
    )
    return f"Others hold {memory(taken)}{_named(holders)}. Close them: then {again}."


def _named(holders: Sequence[Holder]) -> str:
    known = [f"{one.name} ({one.pid})" if one.name else f"process {one.pid}" for one in holders[:NAMED]]
    if not known:
        return "; the driver does not tell who"
    more = len(holders) - len(known)
    return f": {', '.join(known)}" + (f" and {more} more" if more else "")
