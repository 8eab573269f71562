"""A plan as text for a terminal: the table, then each preset with every byte and every reason."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from backends.hardware.machine import Machine
from backends.planning.result import Fit
from presets.plan import PresetPlan
from tui.chat.bill import Rates
from tui.commands import table
from tui.plans import otherwise, told
from tui.plans.brief import brief
from tui.units import DASH, bar, memory

_HEAD = ("PRESET", "FITS", "LAYERS", "VRAM", "RAM", "SSD/TOKEN", "PREDICTED", "PUBLISHED", "MEASURED")
_FILES = ("FILE", "SIZE", "LAYERS", "RAM", "SSD/TOKEN", "PREDICTED", "KLD")
_SPARE = (1,)
_BAR, _INDENT, _WIDEST = 24, 2, 110
_SPACE = " " * _INDENT


def lines(
    machine: Machine,
    plans: Sequence[PresetPlan],
    rates: Rates,
    costs: Mapping[str, dict[str, float]],
    *,
    short: bool = False,
) -> Iterator[str]:
    """Yield everything, or with `short` the machine and the table."""
    columns = table.width()
    yield machine.title or "This machine"
    yield from _rows([(rest.name, rest.value, f"({rest.origin})") for rest in told.machine_rests(machine)], columns)
    for note in machine.notes:
        yield from _wrapped(f"note: {note}", columns)
    yield ""
    yield from table.table(_HEAD, [_row(plan, machine, rates) for plan in plans], columns, _SPARE)
    yield "TOKENS/S: predicted, published by others, measured here."
    if short:
        return
    for plan in plans:
        yield ""
        yield from _preset(plan, machine, rates, costs, columns)


def _row(plan: PresetPlan, machine: Machine, rates: Rates) -> tuple[str, ...]:
    known = {one.name: one for one in told.columns(plan, machine, rates)}
    speed, found = known["tokens/s"], plan.fit
    if found is None:
        detail = brief(plan, room=_WIDEST).detail
        return (plan.name, detail, DASH, DASH, DASH, DASH, DASH, speed.published, speed.measured)
    return (
        plan.name,
        _fits(found),
        known["layers on the card"].predicted,
        known["VRAM"].predicted,
        known["RAM"].predicted,
        known["SSD, each token"].predicted,
        speed.predicted,
        speed.published,
        speed.measured,
    )


def _fits(found: Fit) -> str:
    """Say in a few words where a model runs, "no" where it does not fit."""
    if not found.fits:
        return "no"
    if found.whole:
        return "whole on the card"
    if found.bytes.ssd.total:
        return "card, CPU and disk" if found.output_on_card else "CPU and disk"
    return "card and CPU" if found.output_on_card else "on the CPU"


def _preset(
    plan: PresetPlan,
    machine: Machine,
    rates: Rates,
    costs: Mapping[str, dict[str, float]],
    columns: int | None,
) -> Iterator[str]:
    yield f"{plan.title}  ({plan.name}: {plan.family} {plan.quantization})"
    if plan.located.present is False:
        yield from _wrapped(f"{plan.located.detail or 'not here'}. {plan.located.hint}", columns)
    if plan.problem:
        yield from _wrapped(f"{plan.problem}.".replace("..", "."), columns)
        if plan.hint and plan.hint != plan.located.hint:
            yield from _wrapped(plan.hint, columns)
    head = ("", "PREDICTED", "PUBLISHED", "MEASURED")
    rows = [(one.name, one.predicted, one.published, one.measured) for one in told.columns(plan, machine, rates, costs)]
    if plan.fit is not None or any(cell != DASH for _, *row in rows for cell in row):
        room = None if columns is None else _room(columns) - _INDENT
        yield from (_SPACE + line for line in table.table(head, rows, room))
    found = plan.fit
    if found is None:
        return
    yield f"{_SPACE}Where the bytes go"
    yield from _places(plan, columns)
    for warning in plan.warnings:
        yield from _wrapped(f"! {warning}", columns, 2)
    yield f"{_SPACE}Why"
    for reason in (*found.reasons, told.seconds(plan)):
        yield from _wrapped(f"· {reason}", columns, 2)
    yield f"{_SPACE}What could be otherwise"
    choices = [] if found.whole else otherwise.choices(plan)
    for other in otherwise.alternatives(plan, files=not choices):
        yield from _wrapped(f"· {other}", columns, 2)
    if choices:
        yield from _choices(choices, columns)
        if any(one.loss.endswith("*") for one in choices):
            yield from _wrapped("* Mean KL divergence (KLD), published for another model.", columns, 2)
        for note in otherwise.notes(plan):
            yield from _wrapped(f"· {note}", columns, 2)
    yield f"{_SPACE}What the figures rest on"
    yield from _rows([(rest.name, rest.value, rest.origin) for rest in told.rests(plan, machine, rates)], columns)


def _choices(rows: Sequence[otherwise.Choice], columns: int | None) -> Iterator[str]:
    """Yield a table of files that could be taken, under a line that says what it is."""
    yield f"{_SPACE}Other files, with what each would do here"
    cells = [
        (f"{row.name}{' (planned)' if row.own else ''}", row.size, row.layers, row.ram, row.ssd, row.speed, row.loss)
        for row in rows
    ]
    room = None if columns is None else _room(columns) - _INDENT
    yield from (_SPACE + line for line in table.table(_FILES, cells, room))


def _places(plan: PresetPlan, columns: int | None) -> Iterator[str]:
    if plan.fit is None:
        return
    for place in told.places(plan.fit):
        if not place.total:
            continue
        if place.free:
            state = f"▕{bar(place.total / place.free, _BAR)}▏ {memory(place.total)} of {memory(place.free)} free"
        else:
            state = f"{memory(place.total)} read again for each token" if place.name == "SSD" else memory(place.total)
        yield from _wrapped(f"{place.name:<5}{state}", columns, 5)
        parts = " + ".join(f"{name} {memory(size)}" for name, size in place.parts)
        margin = f"; {memory(place.margin)} are left free" if place.margin else ""
        yield from _wrapped(f"     {parts}{margin}", columns, 5)


def _rows(rows: Sequence[tuple[str, str, str]], columns: int | None) -> Iterator[str]:
    """Yield figures under each other; a sentence in the place of a figure is wrapped."""
    wide = max((len(name) for name, _, _ in rows), default=0)
    for name, value, origin in rows:
        text = f"{name:<{wide}}  {' '.join(part for part in (value, origin) if part)}"
        yield from _wrapped(text, columns, wide + 2)


def _wrapped(text: str, columns: int | None, hang: int = 0) -> Iterator[str]:
    yield from textwrap.wrap(
        text,
        _room(columns),
        initial_indent=_SPACE,
        subsequent_indent=" " * (_INDENT + hang),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def _room(columns: int | None) -> int:
    return _WIDEST if columns is None else min(columns, _WIDEST)
