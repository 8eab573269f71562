"""Why a plan is as it is, and what to beware of, in sentences with their figures."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from backends.fitting import context_notes
from backends.gguf.shape import Shape
from backends.hardware.machine import Machine
from backends.planning.choice import Ground, Way, all_on_card, idle_bytes, most_blocks, unmapped_bytes, way
from backends.planning.disks import read_speed
from backends.planning.memory import compute_bytes, doubts, engine_layers, kv_bytes, may_quantise_kv, place
from backends.planning.result import Wishes
from backends.planning.speed import few_cores, looked_up, tokens_per_second, traffic
from backends.planning.streaming import reserve_bytes, window_bytes
from backends.shown import size

_ROOM = 1 << 30
"""Bytes: who leaves more free on a card is not near its end, whatever a desktop takes meanwhile."""
_MOSTLY = 0.75
"""A card with less of it free is taken by others; a desktop and the driver take less than the rest."""


def reasons(shape: Shape, wishes: Wishes, stand: Ground, chosen: Way) -> tuple[str, ...]:
    """Say why so many layers are on the card, and what was rejected at which price."""
    return tuple(_reasons(shape, wishes, stand, chosen))


def warnings(shape: Shape, machine: Machine, wishes: Wishes, stand: Ground, chosen: Way) -> tuple[str, ...]:
    """Say what will go wrong, or may; what keeps the model from fitting comes first."""
    setup = chosen.setup
    found = [
        *_shortages(shape, machine, wishes, stand, chosen),
        *_card_warnings(machine, wishes, stand, chosen),
        *_ram_warnings(shape, machine, wishes, stand, chosen),
    ]
    if wishes.kv_cache not in ("auto", setup.kv_cache):
        why = "flash attention is off" if wishes.flash_attention == "off" else "the heads of this model do not allow it"
        found.append(f"The KV cache is planned as {setup.kv_cache} instead of {wishes.kv_cache}: {why}.")
    found += context_notes(wishes.context, shape.context_length)
    if machine.power == "battery":
        found.append("The machine runs on battery, where it is slower than predicted.")
    return (*found, *doubts(shape))


def _reasons(shape: Shape, wishes: Wishes, stand: Ground, chosen: Way) -> Iterator[str]:
    if stand.card is None:
        yield "There is no card to plan for: the CPU computes everything."
    else:
        yield from _on_card(shape, wishes, stand, chosen)
    yield from _off_card(shape, wishes, stand, chosen)
    if all_on_card(shape, chosen):
        return
    if looked_up(shape):
        yield (
            "The CPU looks the weights of IQ types up in tables: with few cores that takes longer than reading them, "
            "so the speed is only a bound."
        )
    elif few_cores(shape, stand.rates, stand.cores):
        yield (
            f"With so few cores ({stand.cores}) the CPU may take longer to unpack these weights than memory to give "
            "them: the speed is only a bound until an answer has shown it."
        )


def _off_card(shape: Shape, wishes: Wishes, stand: Ground, chosen: Way) -> Iterator[str]:
    """Say how main memory and the disk share what is not on the card."""
    free, host = stand.ram_free, chosen.placement.host
    if free is None or not chosen.holds:
        return
    if not chosen.streamed:
        if wishes.mmap and host.weights - idle_bytes(shape, chosen.placement) > _ROOM:
            yield (
                f"Main memory holds the CPU's part, {size(host.total)} of the {size(free)} that are available: once "
                "loaded, nothing is read from the disk."
            )
        return
    rate = stand.rates.disk_reached or (stand.rates.disk.bytes_per_s if stand.rates.disk is not None else None)
    at = f" at {_per_s(rate)}" if rate else ""
    if wishes.hold_bytes is not None and chosen.kept_bytes == wishes.hold_bytes > 0:
        yield f"No more than {size(chosen.kept_bytes)} of weights are to stay in memory: so says hold_gib."
    elif chosen.kept_bytes:
        yield (
            f"Of the {size(free)} of memory that are available, {size(unmapped_bytes(chosen.placement, wishes))} are "
            f"for KV cache and buffers, {size(window_bytes(chosen.kept_bytes + chosen.streamed))} for what passes "
            f"through, {size(reserve_bytes(free))} stay free for others: {size(chosen.kept_bytes)} of weights stay."
        )
    how = ", while the CPU computes what is there" if chosen.ahead else ", and then computes: nothing is read ahead"
    yield f"Each token reads {size(chosen.streamed)} from the disk{at}{how}."
    if rate:
        whole = shape.weight_bytes
        yield f"Loading reads the whole file once: {size(whole)}, about {_seconds(whole / rate)}."


def _on_card(shape: Shape, wishes: Wishes, stand: Ground, chosen: Way) -> Iterator[str]:
    setup, placement = chosen.setup, chosen.placement
    most = most_blocks(shape, setup, wishes, stand.card_free)
    if chosen.whole_blocks == shape.layers <= most:
        yield (
            f"All {shape.layers} layers and the output layer fit on the card with {_a(setup.kv_cache)} KV cache of "
            f"{size(placement.card.kv)}: offload to the CPU is not needed."
        )
    elif wishes.gpu_layers == "auto":
        yield _one_more(shape, wishes, stand, chosen)
        if chosen.held:
            yield _part(shape, wishes, stand, chosen)
    else:
        number = f"gpu_layers = {engine_layers(most)}, which counts the output layer"
        yield f"{placement.blocks} layers on the card were asked for; {most} of {shape.layers} would fit ({number})."
    yield from _other_caches(shape, wishes, stand, chosen)
    if setup.flash_attention and wishes.flash_attention == "auto":
        plain = msgspec.structs.replace(setup, flash_attention=False, kv_cache="f16")
        blocks = most_blocks(shape, plain, wishes, stand.card_free)
        yield (
            f"Without flash attention the compute buffer would take {size(compute_bytes(shape, plain))} instead of "
            f"{size(compute_bytes(shape, setup))} and the KV cache {size(kv_bytes(shape, plain))} as f16: "
            f"{blocks} of {shape.layers} layers."
        )
    if wishes.card_overhead_bytes is None and placement.output_on_card:
        yield (
            f"{size(wishes.margin_bytes)} are left free for the driver's context, which was not measured on this "
            "card, and for what others may take."
        )


def _part(shape: Shape, wishes: Wishes, stand: Ground, chosen: Way) -> str:
    whole = way(shape, chosen.setup, wishes, stand, chosen.whole_blocks)
    text = f"Of one more layer everything but {' and '.join(chosen.held)} goes there too"
    before, after = whole.tokens_per_second, chosen.tokens_per_second
    return f"{text}: {after:.3g} instead of {before:.3g} tokens/s." if before and after else f"{text}."


def _one_more(shape: Shape, wishes: Wishes, stand: Ground, chosen: Way) -> str:
    placement = place(shape, chosen.setup, engine_layers(chosen.whole_blocks), wishes.card_overhead_bytes or 0)
    left = stand.card_free - wishes.margin_bytes - placement.card.total
    more = place(shape, chosen.setup, engine_layers(placement.blocks + 1), wishes.card_overhead_bytes or 0)
    if placement.blocks:
        return (
            f"{placement.blocks} of {shape.layers} layers fit on the card: one more needs "
            f"{size(more.card.total - placement.card.total)}, and {size(left)} are left beside the margin of "
            f"{size(wishes.margin_bytes)}."
        )
    return (
        f"Not one layer fits on the card: with the output layer and buffers it needs {size(more.card.total)}, and "
        f"{size(max(0, left))} can be had beside the margin of {size(wishes.margin_bytes)}."
    )


def _other_caches(shape: Shape, wishes: Wishes, stand: Ground, chosen: Way) -> Iterator[str]:
    """Say what the KV cache costs that was not taken."""
    setup = chosen.setup
    if wishes.kv_cache != "auto":
        return
    if setup.kv_cache == "q8_0":
        exact = msgspec.structs.replace(setup, kv_cache="f16")
        yield (
            f"An f16 KV cache would take {size(kv_bytes(shape, exact))} instead of {size(kv_bytes(shape, setup))}: "
            f"{most_blocks(shape, exact, wishes, stand.card_free)} of {shape.layers} layers."
        )
    elif setup.flash_attention and may_quantise_kv(shape):
        smaller = msgspec.structs.replace(setup, kv_cache="q8_0")
        yield (
            f"A q8_0 KV cache would save {size(kv_bytes(shape, setup) - kv_bytes(shape, smaller))} and bring no "
            "further layer onto the card, so it stays exact."
        )


def _shortages(shape: Shape, machine: Machine, wishes: Wishes, stand: Ground, chosen: Way) -> Iterator[str]:
    need, free = chosen.placement.card.total, stand.ram_free or 0
    if stand.card is not None and need > stand.card_free:
        most = most_blocks(shape, chosen.setup, wishes, stand.card_free)
        close = "close what else uses it, or " if need <= machine.gpus[stand.card].total_bytes else ""
        yield (
            f"{chosen.placement.blocks} layers need {size(need)} on the card and {size(stand.card_free)} are free: "
            f"{close}take {most} layers (gpu_layers = {engine_layers(most)}, which counts the output layer)."
        )
    if not chosen.holds:
        what = "the KV cache and buffers alone" if wishes.mmap else "without mmap the CPU's part"
        yield (
            f"Main memory is too small: {what} would take {size(unmapped_bytes(chosen.placement, wishes))}, and "
            f"{size(free)} are available. The system would swap, which writes to the disk, or end the engine."
        )


def _card_warnings(machine: Machine, wishes: Wishes, stand: Ground, chosen: Way) -> Iterator[str]:
    if stand.card is None:
        return
    card, need = machine.gpus[stand.card], chosen.placement.card.total
    if len(machine.gpus) > 1:
        yield f"Of {len(machine.gpus)} cards, {card.name} alone is planned for: it has most free memory."
    if not stand.card_free_known:
        yield f"How much of {card.name} is free is not known: it is planned as if nobody else used it."
    if max(0, stand.card_free - wishes.margin_bytes) < need <= stand.card_free:
        yield f"Only {size(stand.card_free - need)} stay free on the card, less than the margin."
    if not chosen.placement.output_on_card:
        yield "Nothing of the model is on the card, but the engine may still use it for long prompts."
        if wishes.gpu_layers == "auto" and stand.card_free < _MOSTLY * card.total_bytes:
            yield f"{size(stand.card_free)} of the card's {size(card.total_bytes)} are free: close what else uses it."
    elif machine.wsl2 and stand.card_free - need < _ROOM:
        yield "In WSL2 a full card spills into main memory without an error: slow, where elsewhere loading would fail."


def _ram_warnings(shape: Shape, machine: Machine, wishes: Wishes, stand: Ground, chosen: Way) -> Iterator[str]:
    free = stand.ram_free
    if free is None:
        yield "How much main memory is available is not known, and so whether the CPU's part fits."
    elif chosen.holds and chosen.spills and chosen.streamed:
        yield _streamed(shape, wishes, stand, chosen)
        yield from _disk(machine, stand)
    used = machine.ram.swap_used_bytes
    if used:
        yield f"{size(used)} of swap are in use: the memory is short already."


def _disk(machine: Machine, stand: Ground) -> Iterator[str]:
    """Say what has to be known of a disk that every token reads from."""
    disk, rate = machine.disk, read_speed(machine.disk)
    if disk.kind == "network":
        yield "The model lies on a network disk: each token would wait for the network, and how long nobody knows."
    elif rate is not None and rate.source == "assumed" and not stand.rates.disk_reached:
        yield f"The disk was not measured: {_per_s(rate.bytes_per_s)} are assumed, as of most of its kind."


def _streamed(shape: Shape, wishes: Wishes, stand: Ground, chosen: Way) -> str:
    free, need, idle = stand.ram_free or 0, chosen.placement.host.total, idle_bytes(shape, chosen.placement)
    if chosen.kept_bytes:
        return (
            f"The CPU's part needs {size(need)} and {size(free)} are available: {size(chosen.kept_bytes)} of the "
            f"weights stay in memory, and each token reads the other {size(chosen.streamed)} from the disk."
        )
    # At best so much stays in memory as there is room; of experts, a token reads its share of what does not.
    lacking = (need - idle - free) / max(1, chosen.placement.host.weights - idle)
    over = round(chosen.streamed * min(1.0, lacking))
    text = (
        f"The CPU's part needs {size(need)} and {size(free)} are available. Reading in a circle defeats the system's "
        f"cache, so each token may read all {size(chosen.streamed)} of it from the disk"
    )
    read = traffic(shape, chosen.setup, engine_layers(chosen.placement.blocks), wishes.depth, held=chosen.held)
    speed = tokens_per_second(msgspec.structs.replace(read, disk=over), stand.rates, ahead=chosen.ahead)
    return text + ("." if speed is None else f"; at best {size(over)}, for {speed:.2g} tokens/s.")


def _per_s(rate: int) -> str:
    return f"{rate / 1e9:.3g} GB/s"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "f16" else f"a {kind}"
