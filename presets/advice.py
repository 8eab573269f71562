"""Which preset a machine runs best, and why: one rule after the other, from plans alone."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from backends.planning.result import Fit
from presets.plan import PresetPlan

FLUENT = 5.0
"""Tokens a second: about as fast as people read. A larger model that is slower answers better and is left alone."""


class Advice(msgspec.Struct, frozen=True):
    """The plan of the preset that fits best. `why` says in a few words which rule has chosen it."""

    plan: PresetPlan
    why: str


def advise(plans: Iterable[PresetPlan]) -> Advice | None:
    """Return which of these presets fits best, None where none is known to fit. Of equals the first is taken.

    What does not fit into memory is never advised, nor what each token reads from the disk.
    """
    good = [plan for plan in plans if plan.fit is not None and _held(plan.fit)]
    if whole := [plan for plan in good if plan.fit is not None and plan.fit.whole]:
        return Advice(max(whole, key=_size), "the largest that is whole on the card")
    if fluent := [plan for plan in good if _speed(plan) >= FLUENT]:
        return Advice(max(fluent, key=_size), f"the largest that reaches {FLUENT:g} tok/s")
    if known := [plan for plan in good if _speed(plan) > 0]:
        return Advice(max(known, key=_speed), "the fastest of those that fit")
    if good:
        return Advice(min(good, key=_size), "the smallest, so the fastest: this machine was not measured yet")
    return None


def _held(found: Fit) -> bool:
    return found.fits and not found.bytes.ssd.total


def _size(plan: PresetPlan) -> int:
    return plan.size_bytes or 0


def _speed(plan: PresetPlan) -> float:
    """Return tokens a second, measured or predicted; nothing where nobody knows."""
    predicted = plan.fit.tokens_per_second if plan.fit is not None else None
    return plan.measured_speed or predicted or 0.0
