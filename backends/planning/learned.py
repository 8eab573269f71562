"""What loading has taught about a card: how much of it to leave free, and what the engine's context takes there.

Kept by the card's name. The host that loads writes it; plans may be made anywhere.
"""

from __future__ import annotations

import statistics
from typing import Annotated

import msgspec

from backends import remembered
from backends.planning.result import MARGIN_BYTES

STEP_BYTES = 128 * 1024**2
LEAST_BYTES = 192 * 1024**2
"""Stays free even where the driver's context is counted apart: what kernels take while they run, and lost room."""
MOST_BYTES = 1024**3
"""The margin grows by steps up to here. Who needs more shares the card with somebody who comes and goes."""

FIRST_PATIENCE, LAST_PATIENCE = 5, 80
"""After so many tight loads without a fault the margin is lowered again by a step."""

_KIND = "cards"
_MIB = 1024**2
_PLAUSIBLE = range(50 * _MIB, 1536 * _MIB + 1)
_SAMPLES = 3
_MOST_STEPS = (MOST_BYTES - MARGIN_BYTES) // STEP_BYTES

_Count = Annotated[int, msgspec.Meta(ge=0, le=LAST_PATIENCE)]


class _Lesson(msgspec.Struct, frozen=True):
    """What is known about one card. `steps` is how far the margin was raised, `clean` the tight loads since it changed.

    `lowered` says that its last change was downwards. `overheads` were measured with the version `engine`.
    """

    steps: Annotated[int, msgspec.Meta(ge=0, le=_MOST_STEPS)] = 0
    clean: _Count = 0
    patience: Annotated[int, msgspec.Meta(ge=1, le=LAST_PATIENCE)] = FIRST_PATIENCE
    lowered: bool = False
    overheads: Annotated[tuple[int, ...], msgspec.Meta(max_length=_SAMPLES)] = ()
    engine: str = ""


def margin_bytes(card: str, counted: int | None = None) -> int:
    """Return how much of the card with this name is to stay free.

    `counted` is the driver's context where that is counted apart or on the card already; None leaves it to the margin.
    """
    base = MARGIN_BYTES if counted is None else max(LEAST_BYTES, MARGIN_BYTES - counted)
    return base + _recall(card).steps * STEP_BYTES


def raise_margin(card: str, missing_bytes: int) -> int:
    """Leave more free after an out-of-memory, by what was missing in whole steps; return the new margin.

    Where the margin had been lowered before, the next lowering has to wait twice as long.
    """
    lesson = _recall(card)
    steps = min(_MOST_STEPS, lesson.steps + max(1, -(-missing_bytes // STEP_BYTES)))
    patience = min(LAST_PATIENCE, 2 * lesson.patience) if lesson.lowered else lesson.patience
    _keep(card, msgspec.structs.replace(lesson, steps=steps, clean=0, patience=patience, lowered=False))
    return MARGIN_BYTES + steps * STEP_BYTES


def loaded_without_fault(card: str) -> None:
    """Take note of a load that left little more free than the margin. After some of them a smaller one is tried again.

    Loads that left much more prove nothing.
    """
    lesson = _recall(card)
    if lesson.steps == 0:
        return
    lesson = msgspec.structs.replace(lesson, clean=lesson.clean + 1)
    if lesson.clean >= lesson.patience:
        lesson = msgspec.structs.replace(lesson, steps=lesson.steps - 1, clean=0, lowered=True)
    _keep(card, lesson)


def overhead_bytes(card: str) -> int | None:
    """Return what the engine's context takes on the card with this name, None where nobody has measured it."""
    taken = _recall(card).overheads
    return int(statistics.median_low(taken)) if taken else None


def overhead_wanted(card: str, engine: str) -> bool:
    """Say whether another measurement with this version of the engine is of use."""
    lesson = _recall(card)
    return lesson.engine != engine or len(lesson.overheads) < _SAMPLES


def note_overhead(card: str, taken_bytes: int, engine: str) -> None:
    """Keep one measurement. One that is not plausible is dropped: somebody else took or gave memory meanwhile."""
    if taken_bytes not in _PLAUSIBLE:
        return
    lesson = _recall(card)
    before = lesson.overheads if lesson.engine == engine else ()
    taken = (*before, taken_bytes)[-_SAMPLES:]
    _keep(card, msgspec.structs.replace(lesson, overheads=taken, engine=engine))


def _recall(card: str) -> _Lesson:
    try:
        return msgspec.convert(remembered.read(_KIND, _key(card)), _Lesson)
    except msgspec.ValidationError:
        return _Lesson()


def _keep(card: str, lesson: _Lesson) -> None:
    remembered.write(_KIND, _key(card), msgspec.to_builtins(lesson))


def _key(card: str) -> str:
    return " ".join(card.casefold().split())
