"""The plan for one model on one machine: layers on the card, bytes by place, speed, alternatives, reasons.

It never shrinks the context, and it never refuses: what does not fit is said, and the user may go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from backends.gguf.shape import Shape
from backends.hardware.machine import Machine
from backends.hardware.speed import Speed
from backends.planning.choice import Ground, Way, all_on_card, best_way, ground, idle_bytes, setups, way
from backends.planning.memory import HOST_BYTES, KvCache, Use, doubts, may_quantise_kv
from backends.planning.result import MARGIN_BYTES, Alternative, Change, Fit, Input, Origin, Tier, Tiers, Wishes
from backends.planning.speed import CARD_EFFICIENCY, DISK_EFFICIENCY, memory_efficiency
from backends.planning.words import reasons, warnings

FEWEST = 1024
"""Tokens: no alternative is smaller. R1 thinks for thousands."""

_LEAST_SIZE, _MOST_SIZE = 0.88, 1.12
"""Of a model that is not whole on the card, other quantisations of about its size are named: from here to there."""
_TRAINED = 131_072  # of all distills, where a file does not say
_KINDS: tuple[KvCache, ...] = ("f16", "q8_0", "q4_0")


def fit(
    shape: Shape,
    machine: Machine,
    wishes: Wishes | None = None,
    others: Sequence[Shape] = (),
    smaller: Iterable[tuple[str, Sequence[Shape]]] = (),
) -> Fit:
    """Say how a model runs on a machine, with as many layers on the card as fit beside the margin.

    `others` are the same model at other quantisations, from which alternatives are chosen. `smaller` are other models,
    the largest first, asked for only where they matter: the family's name, and its quantisations with the usual one
    first.
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
            _tier(_stays(shape, chosen), stand.ram_free),
            _tier(Use(weights=chosen.streamed), None),
        ),
        fits=_fits(stand, chosen),
        tokens_per_second=chosen.tokens_per_second,
        card=stand.card,
        alternatives=(
            *_alternatives(shape, wishes, stand, chosen),
            *_quantizations(shape, others, wishes, stand, chosen),
            *_smaller(smaller, shape, wishes, stand, chosen),
        ),
        reasons=reasons(shape, wishes, stand, chosen),
        warnings=warnings(shape, machine, wishes, stand, chosen),
        inputs=_inputs(shape, machine, wishes, stand, streams=chosen.streamed > 0),
        held_back=chosen.held,
        only_a_bound=chosen.only_a_bound,
        needs_bytes=placement.host.total if chosen.spills else None,
        kept_bytes=chosen.kept_bytes,
        reads_ahead=chosen.ahead,
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

    Of a model that is whole already, only a larger one is worth naming. Of one that is not, those of about its size are
    too: there each byte costs time, and some are used better than others.
    """
    free = msgspec.structs.replace(wishes, gpu_layers="auto")
    ways = [
        (other, _chosen(other, free, stand))
        for other in sorted(others, key=lambda one: one.weight_bytes)
        if other.quantization != shape.quantization
    ]
    ways = [(other, one) for other, one in ways if _fits(stand, one)]
    better = [(other, one) for other, one in ways if all_on_card(other, one)]
    near: list[tuple[Shape, Way]] = []
    if all_on_card(shape, chosen):
        better = [(other, one) for other, one in better if other.weight_bytes > shape.weight_bytes]
    else:
        near = [(other, one) for other, one in ways if _near(other, shape)]
        if not better and (chosen.spills or not chosen.holds):
            better = [(other, one) for other, one in ways if one.spills is False]
    # In order of size, and none twice.
    for other, one in [pair for pair in ways if pair in near or pair in better[-1:]]:
        yield _alternative("quantization", other, stand, one)


def _near(other: Shape, shape: Shape) -> bool:
    return _LEAST_SIZE * shape.weight_bytes <= other.weight_bytes <= _MOST_SIZE * shape.weight_bytes


def _smaller(
    families: Iterable[tuple[str, Sequence[Shape]]], shape: Shape, wishes: Wishes, stand: Ground, chosen: Way
) -> Iterator[Alternative]:
    """Yield the usual quantisation of the largest smaller model that can be whole on the card, and its best that is.

    Without a card, a smaller model is named where memory holds it and not the one that is planned.
    """
    if all_on_card(shape, chosen) or (stand.card is None and not chosen.spills):
        return
    free = msgspec.structs.replace(wishes, gpu_layers="auto")
    for name, shapes in families:
        ways = [(other, _chosen(other, free, stand)) for other in shapes]
        good = [
            (other, one)
            for other, one in ways
            if _fits(stand, one) and (all_on_card(other, one) if stand.card is not None else one.spills is False)
        ]
        if not good:
            continue
        best = max(good, key=lambda pair: pair[0].weight_bytes)
        for other, one in ways[:1] if ways[0] == best else (ways[0], best):
            yield _alternative("model", other, stand, one, name)
        return


def _fits(stand: Ground, one: Way) -> bool:
    return one.placement.card.total <= stand.card_free and one.holds


def _alternative(changes: Change, shape: Shape, stand: Ground, one: Way, family: str = "") -> Alternative:
    return Alternative(
        changes=changes,
        quantization=shape.quantization if changes in ("quantization", "model") else "",
        context=one.setup.cells,
        kv_cache=one.setup.kv_cache,
        flash_attention=one.setup.flash_attention,
        gpu_layers=one.whole_blocks,
        output_on_card=one.placement.output_on_card,
        whole=all_on_card(shape, one),
        fits=_fits(stand, one),
        vram_bytes=one.placement.card.total,
        ram_bytes=_stays(shape, one).total,
        ssd_bytes=one.streamed,
        tokens_per_second=one.tokens_per_second,
        only_a_bound=one.only_a_bound,
        family=family,
        layers=shape.layers,
        weight_bytes=shape.weight_bytes,
    )


def _stays(shape: Shape, one: Way) -> Use:
    """Return what stays in main memory: of weights that pass through it those that are kept, and of an embedding none.

    What belongs to no block, such as the last norm, is too small to be streamed.
    """
    host = one.placement.host
    if not one.streamed:
        return host
    rest = 0 if shape.experts else host.weights - idle_bytes(shape, one.placement) - one.kept_bytes - one.streamed
    return msgspec.structs.replace(host, weights=one.kept_bytes + rest)


def _tier(use: Use, free: int | None, margin: int = 0) -> Tier:
    return Tier(use.weights, use.kv, use.compute, use.overhead, use.total, free, margin)


def _inputs(shape: Shape, machine: Machine, wishes: Wishes, stand: Ground, *, streams: bool) -> tuple[Input, ...]:
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
    disk = _reached("ssd_reached_bytes_per_s", wishes.disk_reached) or Input(
        "ssd_efficiency", DISK_EFFICIENCY, "assumed"
    )
    return (
        *found,
        Input("ram_available_bytes", stand.ram_free, "unknown" if stand.ram_free is None else looked),
        _speed("ram_bytes_per_s", machine.bandwidth),
        _reached("ram_reached_bytes_per_s", wishes.memory_reached)
        or Input("ram_efficiency", memory_efficiency(machine.bandwidth), "assumed" if measured else "published"),
        _speed("ssd_bytes_per_s", stand.rates.disk),
        *([disk] if streams else []),
    )


def _reached(name: str, rate: int | None) -> Input | None:
    return None if rate is None else Input(name, rate, "measured")


def _speed(name: str, speed: Speed | None) -> Input:
    return Input(name, None, "unknown") if speed is None else Input(name, speed.bytes_per_s, speed.source)
