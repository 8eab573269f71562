"""What could be otherwise than planned, each with its price: another context or cache, quantisation, or model."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from backends.planning.result import Alternative, Fit
from presets import families
from presets.plan import PresetPlan
from tui.plans import loss
from tui.plans.told import predicted
from tui.units import DASH, count, memory
from tui.words import _

ALIKE = 0.005
"""Two files whose sizes differ by less take as long to read."""
_DISTILLS = "DeepSeek-R1-Distill-"
MIRRORS = ("mixed-4-3", "mixed-3-4")
"""Recipes that give the same layers to the other end of a model."""


class Choice(msgspec.Struct, frozen=True):
    """One file that could be taken, as words of a table. `own` is the one that is planned.

    `loss` is its mean KL divergence; a star says that it is published for another model.
    """

    name: str
    size: str
    layers: str
    ram: str
    ssd: str
    speed: str
    loss: str
    own: bool = False


def alternatives(plan: PresetPlan, *, files: bool = True) -> Iterator[str]:
    """Yield what could be otherwise, each with its price; without `files` only what the same file allows."""
    if plan.fit is None:
        return
    for one in plan.fit.alternatives:
        if files or one.changes in ("context", "kv_cache"):
            yield alternative(one, plan)
    if files:
        yield from notes(plan)


def alternative(one: Alternative, plan: PresetPlan) -> str:
    """Return one alternative as a line: "16k context → 35/48 layers, 7.4 GB, ~8.5 tok/s"."""
    layers = plan.fit.layers if plan.fit is not None else one.gpu_layers
    match one.changes:
        case "context":
            what = _("{context} context").format(context=count(one.context))
        case "kv_cache":
            what = _("{kv_cache} KV cache").format(kv_cache=one.kv_cache)
        case "model":
            what, layers = f"{one.family} {one.quantization}", one.layers
        case _:
            what = one.quantization
    on_card = one.output_on_card
    where = (
        _("{gpu_layers}/{layers} layers").format(gpu_layers=one.gpu_layers, layers=layers)
        if on_card
        else _("on the CPU")
    )
    another = one.changes in ("quantization", "model")
    if another and one.whole:
        where = _("whole on the card")
    parts = [where, memory(one.vram_bytes if on_card else one.ram_bytes)]
    if another and on_card and not one.whole:
        parts.append(_("{ram} of memory").format(ram=memory(one.ram_bytes)))
    if one.ssd_bytes:
        parts.append(_("reads {ssd_bytes} a token from the disk").format(ssd_bytes=memory(one.ssd_bytes)))
    if one.tokens_per_second is not None:
        parts.append(f"{predicted(one)} tok/s")
    if not one.fits:
        parts.append(_("does not fit"))
    if one.changes == "quantization":
        parts += _quality(one.quantization, plan.quantization)
    return f"{what} → {', '.join(parts)}"


def choices(plan: PresetPlan) -> list[Choice]:
    """Return the files that could be taken instead, the planned one first; [] where there are none."""
    found = plan.fit
    others = [one for one in found.alternatives if one.changes in ("quantization", "model")] if found else []
    if found is None or not others:
        return []
    own = Choice(
        plan.quantization,
        memory(plan.size_bytes),
        _layers(found.gpu_layers, found.layers, on_card=found.output_on_card),
        memory(found.bytes.ram.total),
        _ssd(found, found.bytes.ssd.total, whole=found.whole),
        predicted(found),
        _kld(plan.quantization) if plan.loss is None else loss.with_error(plan.loss.figures.kld),
        own=True,
    )
    return [own, *(_choice(one, found) for one in others)]


def notes(plan: PresetPlan) -> Iterator[str]:
    """Yield what has to be known to choose between the files."""
    found = plan.fit
    if found is None:
        return
    sizes = {one.quantization: one.weight_bytes for one in found.alternatives if one.changes == "quantization"}
    if plan.known is not None:
        sizes[plan.quantization] = plan.known.shape.weight_bytes
    one, other = (sizes.get(name) for name in MIRRORS)
    if one and other and abs(one - other) <= ALIKE * one:
        yield _(
            "{one} and {other} are equally large, and so equally fast: the card takes bytes, not layers. They differ "
            "in quality alone."
        ).format(one=MIRRORS[0], other=MIRRORS[1])
    if any(one.changes == "model" for one in found.alternatives):
        yield _("A loss is against the same model unquantised: how much worse a smaller model is, nobody says.")


def _choice(one: Alternative, found: Fit) -> Choice:
    model = one.changes == "model"
    return Choice(
        f"{one.family.removeprefix(_DISTILLS)} {one.quantization}" if model else one.quantization,
        memory(one.weight_bytes),
        _layers(one.gpu_layers, one.layers, on_card=one.output_on_card),
        memory(one.ram_bytes),
        _ssd(found, one.ssd_bytes, whole=one.whole),
        predicted(one) if one.fits else _("does not fit"),
        DASH if model else _kld(one.quantization),
    )


def _kld(quantization: str) -> str:
    found = families.quality(quantization)
    return f"{found.kld:.2g}*" if found is not None else DASH


def _layers(number: int, layers: int, *, on_card: bool) -> str:
    return f"{number}/{layers}" if on_card else _("none")


def _ssd(found: Fit, size: int, *, whole: bool) -> str:
    """Return what a token reads from the disk, a dash where nobody knows what memory holds."""
    if found.bytes.ram.free is None and not whole:
        return DASH
    return memory(size) if size else _("none")


def _quality(quantization: str, own: str) -> Iterator[str]:
    """Yield what is published about the loss of both."""
    new, old = families.quality(quantization), families.quality(own)
    if new is not None and old is not None:
        yield _("published loss {kld:.2g} instead of {own:.2g} (KLD)").format(kld=new.kld, own=old.kld)
