"""The machine that a command plans for: this one, measured where it never was, or another by its name or file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec

from backends.hardware.calibration import calibrate, unmeasured
from backends.hardware.machine import Machine
from backends.host import launch
from backends.shown import printable
from presets.reference import machine_named
from presets.schema import PresetEntry
from tui.commands import output
from tui.plans.looking import card_usable, files_here, this_machine


def planned_machine(name: str | None, entries: Iterable[PresetEntry], *, measure: bool) -> Machine:
    """Return the machine of this name or file, None for this one. Raises MachineError.

    What was never measured of this one is, with models of `entries`, unless one of them answers.
    """
    if name is None:
        return _this_machine(entries, measure=measure)
    machine = machine_named(name)
    return machine if machine.title else msgspec.structs.replace(machine, title=printable(Path(name).name))


def uses_cards(machine: Machine, *, here: bool) -> bool:
    """Say whether the engine uses the cards of a machine; of another than this one that is taken for granted."""
    return card_usable() if here and machine.gpus else True


def _this_machine(entries: Iterable[PresetEntry], *, measure: bool) -> Machine:
    hosts = asyncio.run(launch.survey())
    pids, busy = launch.pids_of(hosts), any(host.busy for host in hosts)
    machine = this_machine(pids)
    if not measure or not unmeasured(machine):
        return machine
    if busy:
        output.warn("A model answers just now, so this machine is not measured: how fast it is stays unknown.")
        return machine
    calibrate(machine, files_here(entries), output.warn)
    return this_machine(pids)
