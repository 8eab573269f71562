"""This machine as a plan needs it: what is free, as if our own models were gone, and whether the engine uses cards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import msgspec

from backends.errors import Problem
from backends.hardware.gpu import GpuReading
from backends.hardware.machine import Card, Machine, snapshot
from backends.hardware.memory import process_own
from backends.hardware.nvidia import Nvidia, nvidia
from backends.hardware.patience import Question, Unanswered
from backends.hardware.processes import name_of
from backends.hardware.sampler import HANGS_AFTER_S
from backends.host import launch
from presets.plan import PLANNED
from presets.schema import PresetEntry, source_for
from presets.sources import locate, models, parse

RESERVED_BYTES = 400 * 1024**2
"""What a driver keeps of a card for itself, assumed as for the reference machines: 7.6 of 8 GiB can be had there."""


class Holder(msgspec.Struct, frozen=True):
    """A process of somebody else's on a card. `name` is "" where it is not seen, `held_bytes` None if nobody tells."""

    pid: int
    name: str = ""
    held_bytes: int | None = None


def this_machine(
    pids: Collection[int] = (), gpus: GpuReading | None = None, *, ours_bytes: int | None = None, root: Path = Path("/")
) -> Machine:
    """Look at this machine as it is without the models that the processes `pids` hold: before another, they are ended.

    `ours_bytes` are what they are known to hold of the first card where the driver does not tell.
    """
    return without_hosts(snapshot(models(), pids=pids, gpus=gpus, root=root), pids, ours_bytes=ours_bytes, root=root)


def without_hosts(
    found: Machine, pids: Collection[int], *, ours_bytes: int | None = None, root: Path = Path("/")
) -> Machine:
    """Return a machine that was looked at as if the processes `pids`, and what is ours on its cards, were gone."""
    held = sum(process_own(pid, root) or 0 for pid in pids)
    memory = found.ram
    if held and memory.available_bytes is not None:
        most = memory.limit_bytes or memory.total_bytes or memory.available_bytes + held
        memory = msgspec.structs.replace(memory, available_bytes=min(most, memory.available_bytes + held))
    cards = tuple(_alone(card, ours_bytes if number == 0 else None) for number, card in enumerate(found.gpus))
    return msgspec.structs.replace(found, gpus=cards, ram=memory)


def without(machine: Machine, served_bytes: int) -> Machine:
    """Return a machine as if what a server holds for us were gone from its first card."""
    if not served_bytes or not machine.gpus or machine.gpus[0].free_bytes is None:
        return machine
    first, *more = machine.gpus
    free = min(first.total_bytes, machine.gpus[0].free_bytes + served_bytes)
    return msgspec.structs.replace(machine, gpus=(msgspec.structs.replace(first, free_bytes=free), *more))


def host_pids() -> set[int]:
    """Return the processes that hold our models, this window's and others'. Not to be called in an event loop."""
    return launch.pids_of(asyncio.run(launch.survey()))


def files_here(entries: Iterable[PresetEntry]) -> Iterator[Path]:
    """Yield the models' files that lie on the disk which a plan is about."""
    folder = models()
    while not folder.exists():
        folder = folder.parent
    for entry in entries:
        with contextlib.suppress(Problem, OSError):
            path = locate(parse(source_for(entry.preset, entry.preset.backend, name=entry.name))).path
            if path is not None and path.is_file() and path.stat().st_dev == folder.stat().st_dev:
                yield path


def holders(card: Card, ours: Collection[int], *, root: Path = Path("/")) -> tuple[Holder, ...]:
    """Return who else is on a card, who holds most first; () where nobody tells."""
    if not card.driver.startswith("nvidia"):
        return ()
    question: Question[Nvidia | None] = Question("who is on the cards", nvidia)
    with contextlib.suppress(Unanswered):
        told = question.answer(HANGS_AFTER_S)
        found = next((one for one in told.cards if one.index == card.index), None) if told is not None else None
        tenants = [one for one in found.tenants or () if one.pid not in ours] if found is not None else []
        others = [Holder(one.pid, name_of(one.pid, root), one.held_bytes) for one in tenants]
        return tuple(sorted(others, key=lambda one: (-(one.held_bytes or 0), one.pid)))
    return ()


def emptied(machine: Machine, place: int, others: Collection[Holder] = ()) -> Machine:
    """Return a machine as if nobody were on its `place`-th card.

    Where it is not told what each of the others holds, all but the driver's share is taken to be theirs.
    """
    card = machine.gpus[place]
    if card.free_bytes is None:
        return machine
    known = [one.held_bytes for one in others if one.held_bytes is not None]
    free = card.free_bytes + sum(known)
    if not known or len(known) < len(others):
        free = max(free, card.total_bytes - RESERVED_BYTES)
    alone = msgspec.structs.replace(card, free_bytes=min(card.total_bytes, free))
    return msgspec.structs.replace(machine, gpus=(*machine.gpus[:place], alone, *machine.gpus[place + 1 :]))


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
