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
from tui.words import _, ngettext

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
    return Preflight(told[0][0], tuple(sentence for _short, sentence in told)) if told else None


def _too_many(
    plan: PresetPlan, found: Fit, alone: PresetPlan | None, holders: Sequence[Holder], key: str
) -> Iterator[tuple[str, str]]:
    """A number of layers that was asked for and is not to be had."""
    vram, best = found.bytes.vram, alone.fit if alone is not None else None
    if found.card is None or vram.free is None or vram.total <= vram.free:
        return
    layers = _layers(found.gpu_layers)
    advice = _('gpu_layers = "auto" in the preset takes as many as fit.')
    if best is not None and best.fits and best.bytes.vram.free is not None:
        others = _others(best.bytes.vram.free - vram.free, holders, key)
        advice = _("{others} Or {advice}").format(others=others, advice=advice)
    yield (
        _("{layers} do not fit on the card: {total} needed, {free} free").format(
            layers=layers, total=memory(vram.total), free=memory(vram.free)
        ),
        _(
            "{title} asks for {layers} on the card. They need {total}, and {free} are free: "
            "loading may fail, or put fewer there. {advice}"
        ).format(title=plan.title, layers=layers, total=memory(vram.total), free=memory(vram.free), advice=advice),
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
    goes = ngettext("{count} layer goes there instead", "{count} layers go there instead", found.gpu_layers)
    instead = goes.format(count=found.gpu_layers)
    if not found.output_on_card:
        instead = _("the CPU computes everything instead")
    speeds = ""
    if found.tokens_per_second is not None or best.tokens_per_second is not None:
        now, then = predicted(found), predicted(best)
        speeds = _(" ({now} instead of {then} tok/s)").format(now=now, then=then) if DASH not in (now, then) else ""
    margin = (
        _(", {margin} of it to stay free").format(margin=memory(best.bytes.vram.margin))
        if best.bytes.vram.margin
        else ""
    )
    yield (
        _("{gpu_layers} instead of {most} layers on the card: others hold {taken} of it").format(
            gpu_layers=found.gpu_layers, most=best.gpu_layers, taken=memory(taken)
        ),
        _(
            "{preset} needs {needed} of the card for {layers}{margin}, and {free} are free: {instead}{speeds}. "
            "{others} Or go on."
        ).format(
            preset=plan.title,
            needed=memory(needed),
            layers=_layers(best.gpu_layers),
            margin=margin,
            free=memory(vram.free),
            instead=instead,
            speeds=speeds,
            others=_others(taken, holders, key),
        ),
    )


def _memory(plan: PresetPlan, found: Fit) -> Iterator[tuple[str, str]]:
    """Main memory that is too small, for what a file can hold for it and for what none can."""
    ram, ssd = found.bytes.ram, found.bytes.ssd.total
    needed = found.needs_bytes or ram.total
    if ram.free is None or (needed <= ram.free and not ssd):
        return
    needs = _("{title} needs {total} of main memory, and {free} are available").format(
        title=plan.title, total=memory(needed), free=memory(ram.free)
    )
    smaller = filled(_("A smaller context or quantisation helps; {program.plan} shows which."))
    if ssd:
        speed = _(", for {found} tok/s").format(found=predicted(found)) if found.tokens_per_second is not None else ""
        yield (
            _("each token reads {ssd} from the disk: main memory is too small for it").format(ssd=memory(ssd)),
            (
                _("{needs}: {kept} of it stay there, and each token reads {ssd} from the disk{speed}. {smaller}")
                if found.kept_bytes
                else _("{needs}: each token may read all {ssd} of it from the disk again{speed}. {smaller}")
            ).format(needs=needs, kept=memory(found.kept_bytes), ssd=memory(ssd), speed=speed, smaller=smaller),
        )
    elif not found.fits:
        # A mapped file stands in for weights: where all but they has room, it is not mapped.
        mapped = ""
        if ram.total - ram.weights <= ram.free:
            mapped = _(
                "Or load it mapped: with mmap = true in its [backends.{backend}] the file stands in for what memory "
                "does not hold, which is slow, and nothing is swapped."
            ).format(backend=plan.backend)
            mapped += " "
        yield (
            _("main memory is short by {memory}").format(memory=memory(ram.total - ram.free)),
            _("{needs}: the system would swap, or end it. Close something. {mapped}{smaller}").format(
                needs=needs, mapped=mapped, smaller=smaller
            ),
        )


def _layers(count: int) -> str:
    return ngettext("{count} layer", "{count} layers", count).format(count=count)


def _others(taken: int, holders: Sequence[Holder], key: str) -> str:
    """Say what others hold of the card, who they are as far as it is told, and what helps."""
    again = filled(_("{preset.free} frees it, and choosing it again loads it anew"))
    if key:
        again = filled(_("{preset.free} and {key} load it anew"), key=key)
    text = _("Others hold {size}{who}. Close them: then {again}.")
    return text.format(size=memory(taken), who=_named(holders), again=again)


def _named(holders: Sequence[Holder]) -> str:
    known = [
        f"{one.name} ({one.pid})" if one.name else _("process {pid}").format(pid=one.pid) for one in holders[:NAMED]
    ]
    if not known:
        return _("; the driver does not tell who")
    more = len(holders) - len(known)
    named = ", ".join(known)
    return _(": {named} and {more} more").format(named=named, more=more) if more else f": {named}"
