"""A preset's plan in the two short lines of a sidebar. What does not fit is said shorter, and never cut in a figure."""

from __future__ import annotations

import msgspec

from backends.base import Loaded
from backends.planning.result import Fit
from backends.titles import backend_title
from presets.plan import PLANNED, PresetPlan, rate
from tui.commands.table import cells, fitted
from tui.plans.told import predicted
from tui.units import memory
from tui.words import N_, _

ROOM = 25
"""Cells of a line."""
SENTENCE = 60
"""Cells of a plan that stands in a sentence."""
SAID = (N_("not downloaded"), N_("file missing"), N_("not a model"), N_("cannot be read"), N_("on a server"))
"""What those say who know where a model is, and who know no other language."""


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
        parts = [_(plan.located.detail) or _("not here"), *size]
    else:
        ready = _("cannot be planned") if plan.backend == PLANNED else _("ready")
        parts = [*size, _(plan.located.detail) or ready]
    forms = [parts[:count] for count in range(len(parts), 0, -1)]
    named = [[backend_title(plan.backend), *parts]] if plan.located.present is not False else []
    return [" · ".join(form) for form in [*named, *forms]]


def _forms(found: Fit) -> list[str]:
    """Return how a plan can be written, the longest first."""
    ram, vram, ssd = found.bytes.ram, found.bytes.vram, found.bytes.ssd.total
    if (short := found.short) is not None:
        if short.free is None:
            return [_("does not fit")]
        return [
            _("needs {needed} · has {free}").format(needed=memory(short.total), free=memory(short.free)),
            _("needs {needed} · has {free} GB").format(
                needed=f"{short.total / 1e9:.1f}", free=f"{short.free / 1e9:.1f}"
            ),
            _("needs {needed}, has {free} GB").format(
                needed=f"{short.total / 1e9:.0f}", free=f"{short.free / 1e9:.0f}"
            ),
        ]
    if ssd:
        head = f"{found.gpu_layers}/{found.layers}" if found.output_on_card else "CPU"
        whole = _("{layers} · SSD {size}/token").format(layers=head, size=memory(ssd))
        return [whole, _("{layers} · from the SSD").format(layers=head)]
    if not found.output_on_card:
        return [_("on the CPU · {size}").format(size=memory(ram.total))]
    return [f"{_layers(found.gpu_layers, found.layers)} · {memory(vram.total)}", f"{found.gpu_layers}/{found.layers}"]


def _now(held: Held, room: int) -> str:
    loaded = held.loaded
    on_card = loaded.gpu_layers or loaded.output_on_gpu
    where = _layers(loaded.gpu_layers, loaded.layers) if on_card else _("on the CPU")
    if held.vram_bytes is None or not on_card:
        return _first([where], room)
    return _first([f"{where} · {'~' if held.about else ''}{memory(held.vram_bytes)}", where], room)


def _speed(plan: PresetPlan) -> str:
    """Return tokens a second: measured as it is, predicted with its mark, else what was published."""
    if plan.measured_speed is not None:
        return f"{rate(plan.measured_speed)} tok/s"
    if plan.fit is not None and plan.fit.tokens_per_second is not None:
        return f"{predicted(plan.fit)} tok/s"
    published = plan.published.tokens_per_second if plan.published is not None else None
    return (
        _("published {low}–{high} tok/s").format(low=f"{published[0]:g}", high=f"{published[1]:g}")
        if published is not None
        else ""
    )


def _speed_now(plan: PresetPlan, loaded: Loaded) -> str:
    """Return how fast a loaded model is: only figures of as many layers on the card count."""
    measured, found = plan.measured, plan.fit
    if measured is not None and measured.tokens_per_second is not None and measured.gpu_layers == loaded.gpu_layers:
        return f"{rate(measured.tokens_per_second)} tok/s"
    if found is not None and found.gpu_layers == loaded.gpu_layers and found.tokens_per_second is not None:
        return f"{predicted(found)} tok/s"
    return ""


def _layers(on_card: int | None, whole: int | None) -> str:
    return _("{number}/{whole} layers").format(number=on_card, whole=whole)


def _first(forms: list[str], room: int) -> str:
    fitting = next((form for form in forms if cells(form) <= room), None)
    return fitting if fitting is not None else fitted(forms[-1], room)
