"""The plan for one model on one machine: layers on the card, bytes by place, speed, alternatives, reasons.

It never shrinks the context, and it never refuses: what does not fit is said, and the user may go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from backends.gguf.shape import Shape
from backends.hardware.machine import Machine
from backends.hardware.speed import Speed
from backends.planning.choice import Ground, Way, best_way, ground, setups, way
from backends.planning.memory import HOST_BYTES, KvCache, Use, doubts, may_quantise_kv
from backends.planning.result import MARGIN_BYTES, Alternative, Change, Fit, Input, Origin, Tier, Tiers, Wishes
from backends.planning.speed import CARD_EFFICIENCY, memory_efficiency
from backends.planning.words import reasons, warnings

FEWEST = 1024
"""Tokens: no alternative is smaller. R1 thinks for thousands."""

_TRAINED = 131_072  # of all distills, where a file does not say
_KINDS: tuple[KvCache, ...] = ("f16", "q8_0", "q4_0")


def fit(shape: Shape, machine: Machine, wishes: Wishes | None = None, others: Sequence[Shape] = ()) -> Fit:
    """Say how a model runs on a machine, with as many layers on the card as fit beside the margin.

    `others` are the same model at other quantisations, from which an alternative is chosen.
    """
    wishes = wishes or Wishes()
    stand = ground(machine, wishes)
    chosen = _chosen(shape, wishes, stand)
    setup, placement = chosen.setup, chosen.placement
    return Fit(
        layers=shape.layers,
        gpu_layers=chosen.whole_blocks,
        output_on_card=placement.output_on_card,
        context=setup.cells,
        kv_cache=setup.kv_cache,
        flash_attention=setup.flash_attention,
        ubatch=setup.ubatch,
        bytes=Tiers(
            _tier(placement.card, stand.card_free if stand.card_free_known else None, wishes.margin_bytes)
            if stand.card is not None
            else _tier(Use(), None),
            _tier(placement.host, stand.ram_free),
            _tier(Use(weights=chosen.streamed), None),
        ),
        fits=_fits(stand, chosen),
        tokens_per_second=chosen.tokens_per_second,
        card=stand.card,
        alternatives=(
            *_alternatives(shape, wishes, stand, chosen),
            *_quantizations(shape, others, wishes, stand, chosen),
        ),
        reasons=reasons(shape, wishes, stand, chosen),
        warnings=warnings(shape, machine, wishes, stand, chosen),
        inputs=_inputs(shape, machine, wishes, stand),
        held_back=chosen.held,
        only_a_bound=chosen.only_a_bound,
    )


def _chosen(shape: Shape, wishes: Wishes, stand: Ground) -> Way:
    blocks = None if wishes.gpu_layers == "auto" else max(0, wishes.gpu_layers)
    return best_way([way(shape, setup, wishes, stand, blocks) for setup in setups(shape, wishes)])


def _alternatives(shape: Shape, wishes: Wishes, stand: Ground, chosen: Way) -> Iterator[Alternative]:
    """Yield half, twice and four times the context, then the other KV caches."""
    free = msgspec.structs.replace(wishes, gpu_layers="auto")
    cells = chosen.setup.cells
    for context in (cells // 2, cells * 2, cells * 4):
        if FEWEST <= context <= (shape.context_length or _TRAINED):
            other = _chosen(shape, msgspec.structs.replace(free, context=context), stand)
            yield _alternative("context", shape, stand, other)
    if not (chosen.setup.flash_attention and may_quantise_kv(shape)):
        return
    for kind in _KINDS:
        if kind != chosen.setup.kv_cache:
            other = way(shape, msgspec.structs.replace(chosen.setup, kv_cache=kind), free, stand)
            yield _alternative("kv_cache", shape, stand, other)


def _quantizations(
    shape: Shape, others: Sequence[Shape], wishes: Wishes, stand: Ground, chosen: Way
) -> Iterator[Alternative]:
    """Yield the largest other quantisation that is whole on the card, or else one that memory can hold.

    Of a model that is whole already, only a larger one is worth naming.
    """
    free = msgspec.structs.replace(wishes, gpu_layers="auto")
    ways = [
        (other, _chosen(other, free, stand))
        for other in sorted(others, key=lambda one: one.weight_bytes)
        if other.quantization != shape.quantization
    ]
    ways = [(other, one) for other, one in ways if _fits(stand, one)]
    better = [(other, one) for other, one in ways if _whole(other, one)]
    if _whole(shape, chosen):
        better = [(other, one) for other, one in better if other.weight_bytes > shape.weight_bytes]
    elif not better and (chosen.spills or not chosen.holds):
        better = [(other, one) for other, one in ways if one.spills is False]
    if better:
        other, one = better[-1]
        yield _alternative("quantization", other, stand, one)


def _whole(shape: Shape, one: Way) -> bool:
    return one.placement.output_on_card and one.whole_blocks == shape.layers


def _fits(stand: Ground, one: Way) -> bool:
    return one.placement.card.total <= stand.card_free and one.holds


def _alternative(changes: Change, shape: Shape, stand: Ground, one: Way) -> Alternative:
    return Alternative(
        changes=changes,
        quantization=shape.quantization if changes == "quantization" else "",
        context=one.setup.cells,
        kv_cache=one.setup.kv_cache,
        flash_attention=one.setup.flash_attention,
        gpu_layers=one.whole_blocks,
        output_on_card=one.placement.output_on_card,
        whole=_whole(shape, one),
        fits=_fits(stand, one),
        vram_bytes=one.placement.card.total,
        ram_bytes=one.placement.host.total,
        ssd_bytes=one.streamed,
        tokens_per_second=one.tokens_per_second,
        only_a_bound=one.only_a_bound,
    )


def _tier(use: Use, free: int | None, margin: int = 0) -> Tier:
    return Tier(use.weights, use.kv, use.compute, use.overhead, use.total, free, margin)


def _inputs(shape: Shape, machine: Machine, wishes: Wishes, stand: Ground) -> tuple[Input, ...]:
    """Return the figures that the plan rests on; those of a described machine that nobody measured are assumed."""
    looked: Origin = "measured" if machine.origin == "measured" else "assumed"
    known = not doubts(shape)
    found = [
        Input("weights", None, "formula" if shape.unknown_types else "exact" if shape.parts else "rules"),
        Input("kv", None, "exact" if known else "formula"),
        Input("compute", None, "formula"),
        Input("ram_overhead_bytes", HOST_BYTES, "assumed"),
        Input("depth_tokens", wishes.depth, "assumed"),
    ]
    if stand.card is not None:
        card, overhead = machine.gpus[stand.card], wishes.card_overhead_bytes
        learned: Origin = "measured" if wishes.margin_bytes > MARGIN_BYTES else "assumed"
        found += [
            Input("margin_bytes", wishes.margin_bytes, learned),
            Input("vram_free_bytes", card.free_bytes, "unknown" if card.free_bytes is None else looked),
            Input("vram_overhead_bytes", overhead, "unknown" if overhead is None else "measured"),
            _speed("vram_bytes_per_s", card.bandwidth),
            _reached("vram_reached_bytes_per_s", wishes.card_reached)
            or Input("vram_efficiency", CARD_EFFICIENCY, "published"),
        ]
    measured = machine.bandwidth is not None and machine.bandwidth.source == "measured"
    return (
        *found,
        Input("ram_available_bytes", stand.ram_free, "unknown" if stand.ram_free is None else looked),
        _speed("ram_bytes_per_s", machine.bandwidth),
        _reached("ram_reached_bytes_per_s", wishes.memory_reached)
        or Input("ram_efficiency", memory_efficiency(machine.bandwidth), "assumed" if measured else "published"),
        _speed("ssd_bytes_per_s", machine.disk.read),
    )


def _reached(name: str, rate: int | None) -> Input | None:
    return None if rate is None else Input(name, rate, "measured")


def _speed(name: str, speed: Speed | None) -> Input:
    return Input(name, None, "unknown") if speed is None else Input(name, speed.bytes_per_s, speed.source)
