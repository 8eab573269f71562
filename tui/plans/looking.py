"""This machine as a plan needs it: what is free, as if our own models were gone, and whether the engine uses cards."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec

from backends.hardware.gpu import GpuReading
from backends.hardware.machine import Card, Machine, snapshot
from backends.hardware.memory import process_own
from presets.plan import PLANNED
from presets.sources import models


def this_machine(
    pids: Collection[int] = (), gpus: GpuReading | None = None, *, ours_bytes: int | None = None, root: Path = Path("/")
) -> Machine:
    """Look at this machine as it is without the models that the processes `pids` hold: before another, they are ended.

    `ours_bytes` are what they are known to hold of the first card where the driver does not tell.
    """
    found = snapshot(models(), pids=pids, gpus=gpus, root=root)
    held = sum(process_own(pid, root) or 0 for pid in pids)
    memory = found.ram
    if held and memory.available_bytes is not None:
        most = memory.limit_bytes or memory.total_bytes or memory.available_bytes + held
        memory = msgspec.structs.replace(memory, available_bytes=min(most, memory.available_bytes + held))
    cards = tuple(_alone(card, ours_bytes if number == 0 else None) for number, card in enumerate(found.gpus))
    return msgspec.structs.replace(found, gpus=cards, ram=memory)


def card_usable() -> bool:
    """Say whether the engine's build uses cards, as far as it is known. Asks it in a child of its own, once."""
    # Not at the top: looking up backends takes longer than all else that the screen starts with.
    from backends import registry

    return registry.probe(PLANNED).gpu is not False


def _alone(card: Card, ours_bytes: int | None) -> Card:
    """Return a card as if nothing of ours were on it."""
    if card.free_bytes is None:
        return card
    if card.others_bytes is not None:
        free = card.total_bytes - card.others_bytes
    else:
        free = card.free_bytes + (ours_bytes or 0)
    return msgspec.structs.replace(card, free_bytes=max(card.free_bytes, min(card.total_bytes, free)))
