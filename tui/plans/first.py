"""What somebody reads who starts the program for the first time: this machine, what fits it best, and the one key."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from backends.hardware.machine import Machine
from presets.advice import Advice
from presets.found import Found
from presets.plan import PresetPlan, planned_outlook, size_text
from tui.plans.told import predicted
from tui.units import DASH, duration, memory

STARTER = "Meanwhile the starter answers at once: a tiny model that came with the program, often wrong."
KEYS = "F1 shows every key, F2 to F7 choose a preset, F8 says what this machine can run and why."


def lines(
    machine: Machine,
    advice: Advice | None,
    *,
    card_usable: bool = True,
    key: str = "",
    rate: float | None = None,
    same: Found | None = None,
) -> list[str]:
    """Return the list. `key` chooses the advised preset, `rate` is what the last fetch reached.

    `same` is the advised model as another program keeps it.
    """
    told = [*_machine(machine, card_usable=card_usable)]
    if advice is None:
        told += ["", "Best here: no preset is known to fit into its memory. F8 says why."]
    else:
        told += ["", *_advised(advice, key, rate, same)]
    return [*told, "", STARTER, KEYS]


def _machine(machine: Machine, *, card_usable: bool) -> Iterator[str]:
    for card in machine.gpus:
        free = f", {memory(card.free_bytes)} free" if card.free_bytes is not None else ""
        idle = "" if card_usable else "; this build of the engine leaves it idle"
        yield f"Card: {card.name}, {memory(card.total_bytes)}{free}{idle}"
    if not machine.gpus:
        yield "Card: none that can be used, so the processor computes everything"
    total, available = machine.ram.total_bytes, machine.ram.available_bytes
    free = f", {memory(available)} available" if available is not None else ""
    yield f"Memory: {memory(total) if total is not None else DASH}{free}"
    if machine.disk.free_bytes is not None:
        yield f"Disk: {memory(machine.disk.free_bytes)} free where models go"


def _advised(advice: Advice, key: str, rate: float | None, same: Found | None) -> Iterator[str]:
    plan, found = advice.plan, advice.plan.fit
    size = f", {size_text(plan.size_bytes)}" if plan.size_bytes is not None else ""
    yield f"Best here: {plan.title}{size}: {advice.why}"
    if found is not None:
        where = planned_outlook(_as_here(plan)).line
        speed = plan.measured_speed or found.tokens_per_second
        yield f"Expected: {where}" + (f", {predicted(speed)} tok/s" if speed is not None else "")
    if plan.located.present:
        yield f"It is here: {key or 'Tab goes to the list, where Enter'} loads it."
    elif same is not None:
        yield f"{same.place} keeps it on this machine already: Enter, with nothing typed, uses it as it is."
    else:
        took = ""
        if rate and plan.size_bytes is not None:
            took = f", in ~{duration(plan.size_bytes / rate)} at the last fetch's speed"
        yield f"Enter, with nothing typed, fetches it{took}, and begins with it."


def _as_here(plan: PresetPlan) -> PresetPlan:
    return msgspec.structs.replace(plan, located=msgspec.structs.replace(plan.located, present=True))
