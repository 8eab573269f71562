"""A preset's plan in the two short lines of a sidebar. What does not fit is said shorter, and never cut in a figure."""

from __future__ import annotations

import msgspec

from backends.base import Loaded
from backends.planning.result import Fit
from backends.titles import backend_title
from presets.plan import PresetPlan, planned_outlook, rate, size_text, speed_text
from tui.plans.told import predicted

ROOM = 25
"""Cells of a line."""


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
    look = planned_outlook(plan)
    here = plan.located.present is not False
    forms = _forms(plan.fit) if here and plan.fit is not None else _shorter(look.line, plan)
    return Brief(_first(forms, room), _speed(plan), problem=not look.ready)


def _forms(found: Fit) -> list[str]:
    """Return how a plan can be written, the longest first."""
    ram, vram, ssd = found.bytes.ram, found.bytes.vram, found.bytes.ssd.total
    if not found.fits:
        short = vram if vram.free is not None and vram.total > vram.free else ram
        if short.free is None:
            return ["does not fit"]
        return [
            f"needs {size_text(short.total)} · has {size_text(short.free)}",
            f"needs {short.total / 1e9:.1f} · has {short.free / 1e9:.1f} GB",
            f"needs {short.total / 1e9:.0f}, has {short.free / 1e9:.0f} GB",
        ]
    if ssd:
        head = f"{found.gpu_layers}/{found.layers}" if found.output_on_card else "CPU"
        return [f"{head} · SSD {size_text(ssd)}/token", f"{head} · from the SSD"]
    if not found.output_on_card:
        return [f"on the CPU · {size_text(ram.total)}"]
    return [f"{found.gpu_layers}/{found.layers} layers · {size_text(vram.total)}", f"{found.gpu_layers}/{found.layers}"]


def _now(held: Held, room: int) -> str:
    loaded = held.loaded
    where = f"{loaded.gpu_layers}/{loaded.layers} layers" if loaded.gpu_layers or loaded.output_on_gpu else "on the CPU"
    if held.vram_bytes is None or where == "on the CPU":
        return _first([where], room)
    return _first([f"{where} · {'~' if held.about else ''}{size_text(held.vram_bytes)}", where], room)


def _speed(plan: PresetPlan) -> str:
    """Return tokens a second as `speed_text` does; what is only a bound gets its own mark."""
    if plan.measured_speed is None and plan.fit is not None and plan.fit.tokens_per_second is not None:
        return f"{predicted(plan.fit.tokens_per_second)} tok/s"
    return speed_text(plan)


def _speed_now(plan: PresetPlan, loaded: Loaded) -> str:
    """Return how fast a loaded model is: only figures of as many layers on the card count."""
    measured, found = plan.measured, plan.fit
    if measured is not None and measured.tokens_per_second is not None and measured.gpu_layers == loaded.gpu_layers:
        return f"{rate(measured.tokens_per_second)} tok/s"
    if found is not None and found.gpu_layers == loaded.gpu_layers and found.tokens_per_second is not None:
        return f"{predicted(found.tokens_per_second)} tok/s"
    return ""


def _shorter(line: str, plan: PresetPlan) -> list[str]:
    """Return a line of several parts in ever shorter forms: without the backend, then without what comes last."""
    parts = line.split(" · ")
    forms = [line]
    if len(parts) > 1 and parts[0] == backend_title(plan.backend):
        parts = parts[1:]
        forms.append(" · ".join(parts))
    return [*forms, *(" · ".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))]


def _first(forms: list[str], room: int) -> str:
    fitting = next((form for form in forms if len(form) <= room), None)
    return fitting if fitting is not None else forms[-1][: room - 1] + "…"
