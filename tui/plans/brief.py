"""A preset's plan in the two short lines of a sidebar. What does not fit is said shorter, and never cut in a figure."""

from __future__ import annotations

import msgspec

from backends.base import Loaded
from backends.planning.result import Fit
from backends.titles import backend_title
from presets.plan import PLANNED, PresetPlan, rate
from tui.plans.told import predicted
from tui.units import memory

ROOM = 25
"""Cells of a line."""
SENTENCE = 60
"""Cells of a plan that stands in a sentence."""


class Brief(msgspec.Struct, frozen=True):
    """What fits, how fast it is ("" if nobody knows), and whether something is in the way."""

    detail: str
    speed: str = ""
    problem: bool = False


class Held(msgspec.Struct, frozen=True):
    """A model in memory now, and what it takes of the cards; `about` marks bytes that are only a difference."""

    loaded: Loaded
    vram_bytes: int | None = None
    about: bool = False


def brief(plan: PresetPlan, held: Held | None = None, room: int = ROOM) -> Brief:
    """Return a preset's lines; of one that is loaded they say what is true of it now."""
    if held is not None and held.loaded.layers is not None and held.loaded.gpu_layers is not None:
        return Brief(_now(held, room), _speed_now(plan, held.loaded))
    located, found = plan.located, plan.fit
    # Where only a server knows, asking it is the way to find out.
    here = located.present is not False
    if here and found is not None:
        return Brief(_first(_forms(found), room), _speed(plan), problem=not found.fits)
    cannot = bool(plan.problem) and plan.backend == PLANNED
    return Brief(_first(_unplanned(plan), room), _speed(plan), problem=not here or cannot)


def expected(plan: PresetPlan, room: int = SENTENCE) -> Brief | None:
    """Return the lines of a plan as if its model were here, None where nothing is planned.

    A published speed is left out: it holds for another machine.
    """
    if plan.fit is None:
        return None
    told = brief(msgspec.structs.replace(plan, located=msgspec.structs.replace(plan.located, present=True)), room=room)
    known = plan.measured_speed is not None or plan.fit.tokens_per_second is not None
    return told if known else msgspec.structs.replace(told, speed="")


def _unplanned(plan: PresetPlan) -> list[str]:
    """Return how a preset is told of that is not here, or cannot be planned: the longest form first."""
    size = [memory(plan.size_bytes)] if plan.size_bytes is not None else []
    if plan.located.present is False:
        parts = [plan.located.detail or "not here", *size]
    else:
        parts = [*size, plan.located.detail or ("cannot be planned" if plan.backend == PLANNED else "ready")]
    forms = [parts[:count] for count in range(len(parts), 0, -1)]
    named = [[backend_title(plan.backend), *parts]] if plan.located.present is not False else []
    return [" · ".join(form) for form in [*named, *forms]]


def _forms(found: Fit) -> list[str]:
    """Return how a plan can be written, the longest first."""
    ram, vram, ssd = found.bytes.ram, found.bytes.vram, found.bytes.ssd.total
    if (short := found.short) is not None:
        if short.free is None:
            return ["does not fit"]
        return [
            f"needs {memory(short.total)} · has {memory(short.free)}",
            f"needs {short.total / 1e9:.1f} · has {short.free / 1e9:.1f} GB",
            f"needs {short.total / 1e9:.0f}, has {short.free / 1e9:.0f} GB",
        ]
    if ssd:
        head = f"{found.gpu_layers}/{found.layers}" if found.output_on_card else "CPU"
        return [f"{head} · SSD {memory(ssd)}/token", f"{head} · from the SSD"]
    if not found.output_on_card:
        return [f"on the CPU · {memory(ram.total)}"]
    return [f"{found.gpu_layers}/{found.layers} layers · {memory(vram.total)}", f"{found.gpu_layers}/{found.layers}"]


def _now(held: Held, room: int) -> str:
    loaded = held.loaded
    where = f"{loaded.gpu_layers}/{loaded.layers} layers" if loaded.gpu_layers or loaded.output_on_gpu else "on the CPU"
    if held.vram_bytes is None or where == "on the CPU":
        return _first([where], room)
    return _first([f"{where} · {'~' if held.about else ''}{memory(held.vram_bytes)}", where], room)


def _speed(plan: PresetPlan) -> str:
    """Return tokens a second: measured as it is, predicted with its mark, else what was published."""
    if plan.measured_speed is not None:
        return f"{rate(plan.measured_speed)} tok/s"
    if plan.fit is not None and plan.fit.tokens_per_second is not None:
        return f"{predicted(plan.fit)} tok/s"
    published = plan.published.tokens_per_second if plan.published is not None else None
    return f"published {published[0]:g}–{published[1]:g} tok/s" if published is not None else ""


def _speed_now(plan: PresetPlan, loaded: Loaded) -> str:
    """Return how fast a loaded model is: only figures of as many layers on the card count."""
    measured, found = plan.measured, plan.fit
    if measured is not None and measured.tokens_per_second is not None and measured.gpu_layers == loaded.gpu_layers:
        return f"{rate(measured.tokens_per_second)} tok/s"
    if found is not None and found.gpu_layers == loaded.gpu_layers and found.tokens_per_second is not None:
        return f"{predicted(found)} tok/s"
    return ""


def _first(forms: list[str], room: int) -> str:
    fitting = next((form for form in forms if len(form) <= room), None)
    return fitting if fitting is not None else forms[-1][: room - 1] + "…"
