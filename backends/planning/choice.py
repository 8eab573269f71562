"""One way to run a model on a machine, worked out to the byte, and which of several ways is best."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import msgspec

from backends.gguf.shape import FEED_FORWARD, Shape
from backends.hardware.machine import Card, Machine
from backends.planning.disks import read_speed
from backends.planning.memory import (
    KvCache,
    Placement,
    Setup,
    engine_layers,
    held_bytes,
    may_quantise_kv,
    place,
)
from backends.planning.result import Wishes
from backends.planning.speed import Rates, few_cores, looked_up, only_a_bound, tokens_per_second, traffic
from backends.planning.streaming import Streaming, streaming

_LEAST_GAIN = 0.03
"""A part of a block brings some more work between card and CPU: it has to take so much of what the CPU reads away."""


class Ground(msgspec.Struct, frozen=True):
    """What of a machine a plan stands on. `card` is its place in the list, None for none.

    `card_free` is how much of it can be had, before the margin; `card_free_known` whether somebody looked.
    `cores` are those of the processor that compute, None where nobody knows.
    """

    card: int | None
    card_free: int
    card_free_known: bool
    ram_free: int | None
    rates: Rates
    cores: int | None = None


class Way(msgspec.Struct, frozen=True):
    """One setup with its placement. Of the lowest block on the card the matrices `held` stay with the CPU.

    Where main memory is too small for its weights, `kept_bytes` of them stay there and `streamed` are read from the
    disk for each token, `ahead` of their turn.

    `spills` says that main memory does not hold the mapped weights, None where its size is unknown; `holds` that it
    holds what no file can: KV cache, buffers, and without mmap the weights.
    """

    setup: Setup
    placement: Placement
    held: tuple[str, ...]
    spills: bool | None
    holds: bool
    streamed: int
    tokens_per_second: float | None
    only_a_bound: bool = False
    kept_bytes: int = 0
    ahead: bool = False

    @property
    def whole_blocks(self) -> int:
        """The blocks of which everything is on the card."""
        return self.placement.blocks - (1 if self.held else 0)


def ground(machine: Machine, wishes: Wishes | None = None) -> Ground:
    """Return what can be planned with: of several cards, the one with most free memory."""
    seen = wishes or Wishes()
    disk = read_speed(machine.disk)
    rates = Rates(None, machine.bandwidth, disk, seen.card_reached, seen.memory_reached, seen.disk_reached)
    cores = machine.cpu.usable_cores or machine.cpu.cores
    ram_free = machine.ram.available_bytes
    if ram_free is not None and machine.ram.limit_bytes is not None:
        # Of a machine that somebody describes, both may be said apart.
        ram_free = min(ram_free, machine.ram.limit_bytes)
    if not machine.gpus:
        return Ground(None, 0, False, ram_free, rates, cores)
    best = max(range(len(machine.gpus)), key=lambda place: _free(machine.gpus[place]))
    card = machine.gpus[best]
    rates = msgspec.structs.replace(rates, card=card.bandwidth)
    return Ground(best, _free(card), card.free_bytes is not None, ram_free, rates, cores)


def setups(shape: Shape, wishes: Wishes) -> tuple[Setup, ...]:
    """Return the setups to try for these wishes, the one that changes least of a model first."""
    flash = wishes.flash_attention != "off"
    kinds: tuple[KvCache, ...] = ("f16", "q8_0") if wishes.kv_cache == "auto" else (wishes.kv_cache,)
    if not (flash and may_quantise_kv(shape)):
        kinds = ("f16",)
    return tuple(Setup(wishes.context, kind, flash, wishes.ubatch) for kind in kinds)


def most_blocks(shape: Shape, setup: Setup, wishes: Wishes, free: int) -> int:
    """Return how many blocks a card with `free` bytes takes beside the margin."""
    budget, overhead = free - wishes.margin_bytes, wishes.card_overhead_bytes or 0
    # A block brings more than it saves: what moves to the card is never larger than itself.
    return bisect.bisect_right(
        range(1, shape.layers + 1),
        budget,
        key=lambda blocks: place(shape, setup, engine_layers(blocks), overhead).card.total,
    )


def way(shape: Shape, setup: Setup, wishes: Wishes, stand: Ground, blocks: int | None = None) -> Way:
    """Work out one setup with `blocks` on the card, or with as many as fit and what is worth it of one more."""
    if stand.card is None:
        return _way(shape, setup, wishes, stand, 0)
    if blocks is not None:
        return _way(shape, setup, wishes, stand, min(blocks, shape.layers))
    most = most_blocks(shape, setup, wishes, stand.card_free)
    held = part_of_next(shape, setup, wishes, stand.card_free, most)
    return _way(shape, setup, wishes, stand, most + bool(held), held)


def part_of_next(shape: Shape, setup: Setup, wishes: Wishes, free: int, blocks: int) -> tuple[str, ...]:
    """Return what to hold back of one more block than the `blocks` that fit on a card, () to leave all of it off.

    Only bytes decide, so that the plan and the engine's host agree whatever either knows of speeds. Where no whole
    block fits, nothing goes to the card.
    """
    held = held_back(shape, setup, wishes, free, blocks) if blocks > 0 else ()
    if not held:
        return ()
    before = traffic(shape, setup, engine_layers(blocks), depth=0).memory
    after = traffic(shape, setup, engine_layers(blocks + 1), depth=0, held=held).memory
    return held if after <= before * (1 - _LEAST_GAIN) else ()


def held_back(shape: Shape, setup: Setup, wishes: Wishes, free: int, blocks: int) -> tuple[str, ...]:
    """Return what of one more block than `blocks` has to stay with the CPU so that the rest of it fits on the card.

    That is the least of its feed-forward matrices; () where not even without them it fits, or where it fits whole.
    """
    if blocks >= shape.layers:
        return ()
    budget, overhead = free - wishes.margin_bytes, wishes.card_overhead_bytes or 0
    block = shape.blocks[shape.layers - blocks - 1]
    some = [name for name, size in zip(FEED_FORWARD, block.feed_forward, strict=True) if size]
    sets = (chosen for count in range(1, len(some) + 1) for chosen in itertools.combinations(some, count))
    for held in sorted(sets, key=lambda names: held_bytes(block, names)):
        if place(shape, setup, engine_layers(blocks + 1), overhead, held).card.total <= budget:
            return held
    return ()


def all_on_card(shape: Shape, one: Way) -> bool:
    """Say whether everything that a token reads is on the card."""
    return one.placement.output_on_card and one.whole_blocks == shape.layers


def _way(shape: Shape, setup: Setup, wishes: Wishes, stand: Ground, blocks: int, held: tuple[str, ...] = ()) -> Way:
    layers = engine_layers(blocks)
    placement = place(shape, setup, layers, wishes.card_overhead_bytes or 0, held)
    free, host = stand.ram_free, placement.host
    # While it loads, a mapped file passes through memory whole; what goes to the card is dropped then.
    spills = None if free is None else wishes.mmap and host.total - idle_bytes(shape, placement) > free
    holds = free is None or unmapped_bytes(placement, wishes) <= free
    parts = _parts(shape, setup, wishes, placement, held, free or 0) if spills else Streaming(0, 0)
    read = traffic(shape, setup, layers, wishes.depth, streamed=parts.streamed, held=held)
    ahead = wishes.read_ahead and read.disk > 0 and not shape.experts
    # Unless all that a token reads is on the card, it matters whether memory holds the rest.
    told = spills is not None or (placement.blocks == shape.layers and not held)
    runs = holds and told and placement.card.total <= stand.card_free
    speed = tokens_per_second(read, stand.rates, ahead=ahead) if runs else None
    bound = speed is not None and (
        only_a_bound(read, speed)
        # Without read-ahead a mapped disk gives what its measured speed promises only if it is slow.
        or (read.disk > 0 and not ahead and not stand.rates.disk_reached)
        or (read.memory > 0 and (looked_up(shape) or few_cores(shape, stand.rates, stand.cores)))
    )
    return Way(setup, placement, held, spills, holds, read.disk, speed, bound, parts.held, ahead)


def _parts(
    shape: Shape, setup: Setup, wishes: Wishes, placement: Placement, held: tuple[str, ...], free: int
) -> Streaming:
    """Share what a token reads of the mapped weights between memory and disk.

    Which experts a token needs is known too late to hold them or to read them ahead: their cache is the system's.
    """
    read = traffic(shape, setup, engine_layers(placement.blocks), 0, held=held).memory
    most = 0 if shape.experts else wishes.hold_bytes
    return streaming(read, unmapped_bytes(placement, wishes), free, most)


def idle_bytes(shape: Shape, placement: Placement) -> int:
    """Return the weights in main memory that are as good as never read: of the embedding a token needs one row.

    None are idle where it serves as output layer there.
    """
    return shape.embedding_bytes if placement.output_on_card or not shape.output_is_embedding else 0


def unmapped_bytes(placement: Placement, wishes: Wishes) -> int:
    """Return what main memory has to hold because no file does: KV cache, buffers, and without mmap the weights."""
    return placement.host.total - (placement.host.weights if wishes.mmap else 0)


def best_way(ways: Sequence[Way]) -> Way:
    """Return the way with most layers on the card, of those the one that reads least from the disk, then the first."""
    return max(ways, key=lambda one: (one.whole_blocks, one.holds, -one.streamed, bool(one.held)))


def _free(card: Card) -> int:
    return card.total_bytes if card.free_bytes is None else card.free_bytes
