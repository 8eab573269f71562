"""Where the bytes go, as bars to scale: one a place, told apart by their shades as well as by their colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from backends.hardware.machine import Machine
from backends.planning.result import Fit, Tier
from presets.plan import PresetPlan
from tui.words import N_


class Look(msgspec.Struct, frozen=True):
    """How one kind of bytes is drawn: with blocks, in plain ASCII, in which colour; and what it is called."""

    block: str
    ascii: str
    style: str
    name: str


LOOKS = {
    "weights": Look("█", "#", "$text-accent", N_("weights")),
    "kv": Look("▓", "=", "$text-success", N_("KV cache")),
    "compute": Look("▒", "+", "$text-warning", N_("compute")),
    "overhead": Look("░", "-", "$text-secondary", N_("overhead")),
    "others": Look("▐", "x", "$text-error", N_("others'")),
    "free": Look(" ", " ", "", N_("free")),
    "margin": Look("·", ".", "dim", N_("margin")),
}
"""In the order in which they are drawn. The blocks are those that a Linux console has too."""


class Bar(msgspec.Struct, frozen=True):
    """One place. `parts` are (kind, bytes); `whole` is what the bar is drawn to, `room` what there is, None if unknown.

    Where more is needed than there is, `whole` is the larger. `used` is the plan's part.
    """

    name: str
    parts: tuple[tuple[str, int], ...]
    used: int
    whole: int
    room: int | None


def bars(plan: PresetPlan, machine: Machine) -> list[Bar]:
    """Return the bars of a plan, in the order of speed; of a place that has no part in it there is none."""
    found = plan.fit
    if found is None:
        return []
    drawn = []
    if found.card is not None:
        drawn.append(_bar("VRAM", found.bytes.vram, machine.gpus[found.card].total_bytes))
    drawn.append(_bar("RAM", found.bytes.ram, _ram(machine, found)))
    if found.bytes.ssd.total:
        size = max(plan.size_bytes or 0, found.bytes.ssd.total)
        parts = (("weights", found.bytes.ssd.total), ("free", size - found.bytes.ssd.total))
        drawn.append(Bar("SSD", parts, found.bytes.ssd.total, size, size))
    return drawn


def cells(parts: Sequence[tuple[str, int]], width: int) -> list[tuple[str, int]]:
    """Return how many of `width` cells each part has: to scale, but what is there at all has one if there is room."""
    total = sum(size for _kind, size in parts)
    if total <= 0 or width <= 0:
        return [(kind, 0) for kind, _size in parts]
    counts, before, edge = [], 0, 0
    for _kind, size in parts:
        before += size
        reached = round(before * width / total)
        counts.append(reached - edge)
        edge = reached
    for place, (kind, size) in enumerate(parts):
        if size and not counts[place] and kind != "free":
            largest = max(range(len(counts)), key=counts.__getitem__)
            if counts[largest] > 1:
                counts[largest] -= 1
                counts[place] = 1
    return [(kind, count) for (kind, _size), count in zip(parts, counts, strict=True)]


def _bar(name: str, tier: Tier, room: int | None) -> Bar:
    free = room if tier.free is None else tier.free
    if room is None or free is None:
        return Bar(name, tier.parts, tier.total, tier.total, None)
    others = max(0, room - free)
    left = free - tier.total
    margin = max(0, min(tier.margin, left)) if tier.total else 0
    rest = [("others", others), ("free", max(0, left - margin)), ("margin", margin)]
    return Bar(name, (*tier.parts, *_there(rest)), tier.total, max(room, others + tier.total), room)


def _ram(machine: Machine, found: Fit) -> int | None:
    sizes = [size for size in (machine.ram.total_bytes, machine.ram.limit_bytes) if size is not None]
    least = min(sizes, default=None)
    free = found.bytes.ram.free
    # A machine may be described with more available than it has.
    return least if least is None or free is None else max(least, free)


def _there(parts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(kind, size) for kind, size in parts if size]
