"""What somebody reads who starts the program for the first time: this machine, what fits it best, and the one key."""

from __future__ import annotations

from collections.abc import Iterator

from backends.hardware.machine import Machine
from presets.advice import Advice
from presets.found import Found
from presets.plan import PresetPlan
from tui.keys.words import filled, slots
from tui.plans.brief import expected
from tui.units import DASH, duration, memory
from tui.words import N_, _

STARTER = N_("Meanwhile the starter answers at once: a tiny model that came with the program, often wrong.")
KEYS = N_(
    "{program.help} shows every key, {slots} choose a preset, {program.plan} says what this machine can run and why."
)


def lines(
    machine: Machine,
    advice: Advice | None,
    *,
    card_usable: bool = True,
    key: str = "",
    coming: bool = False,
    rate: float | None = None,
    same: Found | None = None,
) -> list[str]:
    """Return the list. `key` chooses the advised preset, and `coming` says that its model is being fetched.

    `rate` is what the last fetch reached, `same` the advised model as another program keeps it.
    """
    told = [*_machine(machine, card_usable=card_usable)]
    if advice is None:
        told += ["", filled(_("Best here: no preset is known to fit into its memory. {program.plan} says why."))]
    else:
        told += ["", *_advised(advice)]
        if advice.plan.located.present:
            loads = key or filled(_("{move.next} goes to the list, where {presets.choose}"))
            told.append(_("It is here: {key} loads it.").format(key=loads))
        elif coming:
            told.append(_("It is on its way, and loads when it is here."))
        else:
            told.append(_next(advice.plan, rate, same))
    return [*told, "", _(STARTER), filled(_(KEYS), slots=slots())]


def _machine(machine: Machine, *, card_usable: bool) -> Iterator[str]:
    for card in machine.gpus:
        free = (
            _(", {free_bytes} free").format(free_bytes=memory(card.free_bytes)) if card.free_bytes is not None else ""
        )
        idle = "" if card_usable else _("; this build of the engine leaves it idle")
        yield _("Card: {name}, {total_bytes}{free}{idle}").format(
            name=card.name, total_bytes=memory(card.total_bytes), free=free, idle=idle
        )
    if not machine.gpus:
        yield _("Card: none that can be used, so the processor computes everything")
    total, available = machine.ram.total_bytes, machine.ram.available_bytes
    free = _(", {available} available").format(available=memory(available)) if available is not None else ""
    yield _("Memory: {value}{free}").format(value=memory(total) if total is not None else DASH, free=free)
    if machine.disk.free_bytes is not None:
        yield _("Disk: {free_bytes} free where models go").format(free_bytes=memory(machine.disk.free_bytes))


def _advised(advice: Advice) -> Iterator[str]:
    plan, look = advice.plan, expected(advice.plan)
    size = f", {memory(plan.size_bytes)}" if plan.size_bytes is not None else ""
    yield _("Best here: {preset}: {why}").format(preset=f"{plan.title}{size}", why=advice.why)
    if look is not None and look.speed:
        yield _("Expected: {what}").format(what=f"{look.detail}, {look.speed}")
    elif look is not None:
        measures = _("Expected: {what}. {program.plan}, then {plan.measure}, measures how fast: it takes 5 s")
        yield filled(measures, what=look.detail)


def _next(plan: PresetPlan, rate: float | None, same: Found | None) -> str:
    if same is not None:
        already = _("{place} keeps it on this machine already: {composer.send}, with nothing typed, uses it as it is.")
        return filled(already, place=same.place)
    if rate and plan.size_bytes is not None:
        took = duration(plan.size_bytes / rate)
        return filled(_("{composer.send}, with nothing typed, fetches it, in ~{took}, and begins with it."), took=took)
    return filled(_("{composer.send}, with nothing typed, fetches it, and begins with it."))
