"""Tokens a second from bytes and bandwidths: a token is as slow as reading everything that it needs once.

seconds per token = G / (ηg · card) + C / (ηc · memory) + S / (ηd · disk), with G, C and S the bytes that one token
reads from the card's memory, main memory and the disk. What the CPU reads, C, includes what came from the disk. With
read-ahead the disk works while the CPU computes: of their two parts the larger one counts, not the sum.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from backends.gguf.shape import Block, Shape
from backends.hardware.speed import Speed
from backends.planning.memory import Setup, held_bytes, kv_block_bytes

CARD_EFFICIENCY = 0.65
"""ηg: the part of a card's nominal bandwidth that decoding reaches, from published series. Cards with a large cache
reach more: 0.82 on an RTX 5060 Ti."""

MEMORY_EFFICIENCY = 0.55
"""ηc: the part of main memory's nominal bandwidth that decoding reaches; published series give 0.5 to 0.6."""

MEASURED_MEMORY_EFFICIENCY = 0.7
"""ηc of a bandwidth that was measured by reading. Assumed: such a loop reaches about 0.8 of the nominal one."""

DISK_EFFICIENCY = 0.95
"""ηd: the part of a disk's measured speed that a model reaches which is read ahead. Measured: 0.9 to 1.0 of one that
gives 150 to 300 MB/s, with a read-ahead of the kernel's of 128 kB and of 8 MB."""

DEPTH = 2048
"""Tokens: predictions are for an answer at this depth, as R1 thinks for thousands of them."""


READING_DECIDES_BYTES, READING_DECIDES_SPEED = 500_000_000, 200
"""A token that reads less, or of which there would be more a second, is decided by what it costs beside reading: then
the formula is only a bound."""


_LOOKED_UP, _PACKED = "iq", ("q2_", "q3_", "q4_", "q5_")
"""Beginnings of the names of types whose weights the CPU looks up in tables, and of those that it has to unpack."""

_SHARE = 0.1
"""The part of a model that has to be of them to matter."""

CORE_BYTES_PER_S = 6_600_000_000
"""What a core can compute of packed weights, at best. Measured with one of a Xeon of 2.6 GHz: q4_K 6.6 GB/s, q2_K 4.7,
q3_K 4.6; of those that are looked up iq4_xs 3.6, iq3_s 2.4, iq3_xxs 2.0."""


class Rates(msgspec.Struct, frozen=True):
    """Bandwidths of a machine; None means unknown.

    `card_reached`, `memory_reached` and `disk_reached` are the bytes a second that decoding was seen to reach there:
    then they count, and no efficiency is assumed.
    """

    card: Speed | None = None
    memory: Speed | None = None
    disk: Speed | None = None
    card_reached: int | None = None
    memory_reached: int | None = None
    disk_reached: int | None = None


class Traffic(msgspec.Struct, frozen=True):
    """Bytes that one token reads from the card's memory, main memory and the disk."""

    card: int
    memory: int
    disk: int = 0


def traffic(
    shape: Shape,
    setup: Setup,
    gpu_layers: int,
    depth: int = DEPTH,
    *,
    streamed: int = 0,
    held: Collection[str] = (),
) -> Traffic:
    """Return what a token reads after `depth` others, with llama.cpp's n_gpu_layers = `gpu_layers`.

    Of the lowest block on the card the matrices `held` stay with the CPU. Of experts only those in use count, of the
    embedding nothing unless it serves as output layer. `streamed` of the weights come from the disk first.
    """
    depth = min(depth, setup.cells)
    edge = shape.layers - min(max(0, gpu_layers - 1), shape.layers)
    sides = [
        (
            sum(_weights_read(shape, block) for block in part),
            sum(kv_block_bytes(shape, block, depth, setup.kv_cache) for block in part),
        )
        for part in (shape.blocks[:edge], shape.blocks[edge:])
    ]
    (low, low_kv), (high, high_kv) = sides
    back = held_bytes(shape.blocks[edge], held) if edge < shape.layers else 0
    low, high = low + back, high - back
    if gpu_layers > 0:
        high += shape.card_output_bytes
    else:
        low += shape.card_output_bytes  # an embedding that serves as output is read whole there too
    return Traffic(high + high_kv, low + low_kv, min(streamed, low))


def seconds_per_token(read: Traffic, rates: Rates, *, ahead: bool = False) -> float | None:
    """Return the formula above, with read-ahead if `ahead`; None where a bandwidth that matters is unknown."""
    parts = []
    for size, rate in zip((read.card, read.memory, read.disk), used(rates), strict=True):
        if size and not rate:
            return None
        parts.append(size / rate if size and rate else 0.0)
    card, memory, disk = parts
    return (card + (max(memory, disk) if ahead else memory + disk)) or None


def used(rates: Rates) -> tuple[float | None, float | None, float | None]:
    """Return the bytes a second that a token gets out of the card's memory, main memory and the disk."""
    return (
        rates.card_reached or _share(rates.card, CARD_EFFICIENCY),
        rates.memory_reached or _share(rates.memory, memory_efficiency(rates.memory)),
        rates.disk_reached or _share(rates.disk, DISK_EFFICIENCY),
    )


def _share(speed: Speed | None, efficiency: float) -> float | None:
    return None if speed is None else efficiency * speed.bytes_per_s


def tokens_per_second(read: Traffic, rates: Rates, *, ahead: bool = False) -> float | None:
    """Return how fast an answer comes, None where that is unknown."""
    seconds = seconds_per_token(read, rates, ahead=ahead)
    return None if seconds is None else 1 / seconds


def only_a_bound(read: Traffic, speed: float | None) -> bool:
    """Say whether a speed by the formula is more than what will be reached: see `READING_DECIDES_BYTES`."""
    small = read.card + read.memory + read.disk < READING_DECIDES_BYTES
    return speed is not None and (small or speed > READING_DECIDES_SPEED)


def looked_up(shape: Shape) -> bool:
    """Say whether the CPU looks weights of this model up in tables: six cores are slower at it than DDR4 is."""
    return _part_of(shape, _LOOKED_UP) > _SHARE


def few_cores(shape: Shape, rates: Rates, cores: int | None) -> bool:
    """Say whether so few cores unpack this model's weights more slowly than memory gives them, as far as is known."""
    rate = used(rates)[1]
    if cores is None or rate is None or rates.memory_reached is not None:
        return False
    return cores * CORE_BYTES_PER_S < rate and _part_of(shape, _PACKED) > _SHARE


def memory_efficiency(speed: Speed | None) -> float:
    """Return ηc for a bandwidth by where it comes from."""
    return MEASURED_MEMORY_EFFICIENCY if speed is not None and speed.source == "measured" else MEMORY_EFFICIENCY


def _weights_read(shape: Shape, block: Block) -> int:
    """Return the weights of a block that one token reads."""
    if not shape.experts or not 0 < shape.experts_used <= shape.experts:
        return block.bytes
    return block.bytes - block.expert_bytes + block.expert_bytes * shape.experts_used // shape.experts


def _part_of(shape: Shape, kinds: str | tuple[str, ...]) -> float:
    """Return the share of a model's bytes whose types begin so."""
    whole = sum(size for _, size in shape.type_bytes)
    return sum(size for name, size in shape.type_bytes if name.startswith(kinds)) / whole if whole else 0.0
