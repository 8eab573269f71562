"""Checks of the main memory: what is available, what limits it, and what is swapped out."""

from __future__ import annotations

from collections.abc import Iterator

from backends.hardware.memory import Ram
from backends.hardware.swap import swaps
from tui.checks.check import Check
from tui.checks.ground import Ground
from tui.units import memory as size

LITTLE_MEMORY = 1_500_000_000
MUCH_SWAPPED = 512_000_000
"""Bytes on a disk from which on memory is short; a system at ease swaps out some megabytes too."""
_WHO = "grep -H VmSwap /proc/[0-9]*/status | sort -k2 -n | tail   (shows who was swapped out)"


def memory(ground: Ground) -> Iterator[Check]:
    """What a model may take."""
    found = ground.machine.ram
    text = f"{size(found.available_bytes)} of {size(found.total_bytes)} available"
    if found.limit_bytes is not None:
        text += f", limited to {size(found.limit_bytes)} by a control group"
    if found.available_bytes is not None and found.available_bytes < LITTLE_MEMORY:
        fix = "deepseek-tui stop   (ends loaded models); close what else is large: ps aux --sort=-rss | head"
        yield Check("memory", "warn", text, fix, "memory-short")
    else:
        yield Check("memory", "ok", text)
    yield from _swap(found, ground)


def _swap(found: Ram, ground: Ground) -> Iterator[Check]:
    places = swaps(ground.root)
    on_disk = sum(place.used_bytes for place in places if not place.compressed)
    used = found.swap_used_bytes
    if used is None:
        return
    if not found.swap_total_bytes:
        yield Check("swap", "ok", "none")
        return
    packed = "" if not any(place.compressed for place in places) else ", some of it compressed in memory (zram)"
    text = f"{size(used)} of {size(found.swap_total_bytes)} in use{packed}"
    if (on_disk if places else used) < MUCH_SWAPPED:
        yield Check("swap", "ok", text)
        return
    room = found.available_bytes is not None and found.available_bytes > 1.5 * used
    fix = "sudo swapoff -a && sudo swapon -a   (takes it back: there is room now)" if room else _WHO
    yield Check("swap", "warn", text, fix, "memory-short")
