"""Checks of what the presets need: whether this machine can hold each of them, by the plan."""

from __future__ import annotations

from collections.abc import Iterator

from backends.host import launch
from backends.planning.result import Fit
from presets.plan import PLANNED, PresetPlan, plan_preset
from presets.schema import PresetEntry
from tui.checks.check import Check
from tui.checks.ground import Ground
from tui.plans.looking import without_hosts
from tui.units import memory


def fits(ground: Ground) -> Iterator[Check]:
    """A model that is here and does not fit is a warning; of one that is not here it is only told."""
    held = []
    for entry, plan in plans(ground):
        if plan.fit is None:
            continue
        trouble = _trouble(plan.fit)
        if trouble:
            yield _told(entry, trouble, here=plan.located.present is not False)
        else:
            held.append(entry.name)
    if held:
        yield Check("plan", "ok", f"what fits: {', '.join(held)}", public=f"{len(held)} presets fit")


def plans(ground: Ground) -> Iterator[tuple[PresetEntry, PresetPlan]]:
    """Yield the presets that can be planned for, each with its plan."""
    engine = ground.engines.get(PLANNED)
    # A model of ours that is loaded now makes room for the next one.
    machine = without_hosts(ground.machine, launch.pids_of(ground.hosts or ()), root=ground.root)
    for entry in ground.catalog.entries:
        if entry.preset.backend == PLANNED:
            yield entry, plan_preset(entry, machine, card_usable=engine is None or engine.gpu is not False)


def _trouble(found: Fit) -> str:
    vram, ram = found.bytes.vram, found.bytes.ram
    if found.short is vram:
        return f"it needs {memory(vram.total)} of the card and {memory(vram.free or 0)} are free"
    short = (
        f"it needs {memory(found.needs_bytes or ram.total)} of main memory and {memory(ram.free or 0)} are available"
    )
    if not found.fits:
        return short
    if found.bytes.ssd.total:
        return f"{short}: each token reads {memory(found.bytes.ssd.total)} from the disk"
    return ""


def _told(entry: PresetEntry, trouble: str, *, here: bool) -> Check:
    fix = f"deepseek-tui plan {entry.name}   (says what could be otherwise)"
    text = trouble if here else f"not downloaded, and {trouble}"
    public = f"{entry.name if entry.builtin else 'a preset of the user'}: {text}"
    return Check(
        "plan", "warn" if here else "ok", f"{entry.name}: {text}", fix, "memory-short" if here else "none", public
    )
