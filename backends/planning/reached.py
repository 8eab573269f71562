"""What decoding really reached on this machine: bytes a second out of a card's memory, main memory and a disk.

A bandwidth is a maker's figure or that of a bare loop; an engine reaches a part of it. Where a model lay in one place
alone, its answers tell that part, and it holds for other models too. A disk's share is told by what was really read.
"""

from __future__ import annotations

import functools
import statistics

from backends import remembered
from backends.hardware.cpu import cpu_name
from backends.hardware.disk import Disk
from backends.planning.speed import READING_DECIDES_BYTES, Traffic

LEAST_TOKENS = 32
LEAST_DISK_BYTES, LEAST_DISK_S = 1_000_000_000, 1.0
"""Of a disk less says nothing: its own cache and the kernel's may have given it."""
MEMORY = "memory"
_KIND = "reached"
_KEPT = 5


def note(read: Traffic, card: str, tokens: int, tokens_per_second: float) -> None:
    """Take note of an answer whose tokens read `read`; `card` is the name of the card, "" for none.

    Nothing is kept of short answers, of models in several places, and of those that are too small.
    """
    size, place = (read.card, card) if read.card else (read.memory, MEMORY)
    if tokens < LEAST_TOKENS or size < READING_DECIDES_BYTES or not place or read.disk or (read.card and read.memory):
        return
    _keep(place, round(size * tokens_per_second))


def note_disk(disk: Disk, read_bytes: int, seconds: float) -> None:
    """Take note of what came from a disk while tokens waited for it; of too little nothing is kept."""
    if read_bytes >= LEAST_DISK_BYTES and seconds >= LEAST_DISK_S:
        _keep(_disk(disk), round(read_bytes / seconds))


def recall(place: str) -> int | None:
    """Return the bytes a second that the last answers reached in a place: a card's name, or MEMORY.

    Whatever else runs meanwhile makes an answer slower and never faster, so the better half of them counts.
    """
    rates = sorted(_recall(place))
    return statistics.median_low(rates[len(rates) // 2 :]) if rates else None


def recall_disk(disk: Disk) -> int | None:
    """Return the bytes a second that the last answers reached of a disk, None where no model streamed from it."""
    return recall(_disk(disk))


def _keep(place: str, rate: int) -> None:
    remembered.write(_KIND, _key(place), [*_recall(place), rate][-_KEPT:])


def _recall(place: str) -> list[int]:
    found = remembered.read(_KIND, _key(place))
    if not isinstance(found, list):
        return []
    return [rate for rate in found if isinstance(rate, int) and not isinstance(rate, bool) and rate > 0]


def _disk(disk: Disk) -> str:
    return f"disk {disk.kind} {disk.device} {disk.model} {disk.file_system} {disk.total_bytes}"


def _key(place: str) -> str:
    # Main memory has no name, and machines may share a home folder.
    return " ".join((f"{MEMORY} of {_processor()}" if place == MEMORY else place).casefold().split())


@functools.cache
def _processor() -> str:
    return cpu_name()
