"""The plan of one preset as text of a given width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from rich.cells import cell_len, set_cell_size
from textual.content import Content

from backends.base import Loaded
from backends.hardware.calibration import unmeasured
from backends.hardware.machine import Machine
from backends.titles import backend_title
from presets.plan import PLANNED, PresetPlan
from tui.chat.bill import Rates
from tui.chat.clean import clean_line
from tui.commands import table
from tui.keys import filled
from tui.plans import told
from tui.plans.otherwise import alternatives
from tui.screens.plan.bars import LOOKS, Bar, bars, cells
from tui.units import DASH, count, memory
from tui.widgets.lines import wrapped
from tui.words import N_, _

_INDENT = "  "
_HEAD = ("", N_("predicted"), N_("published"), N_("measured"))
_NAME = 5
_LABEL = 8
MEASURE = N_(
    "{plan.measure} measures this machine once, 5 s: memory, and the disk if a model lies on it. "
    "Without it no speed is predicted."
)


class View(msgspec.Struct, frozen=True):
    """One preset of several on a machine; `plan` is None while nothing is planned yet, or where that failed.

    `title` and `key` are the preset's, `place` its place among `among`. `loaded` is its model if that is in memory.
    `own_context` is the preset's where another is tried. `said` tells what is done at the moment. `costs` are the mean
    money of an answer by preset.
    """

    title: str
    machine: Machine | None = None
    plan: PresetPlan | None = None
    key: str = ""
    place: int = 1
    among: int = 1
    loaded: Loaded | None = None
    own_context: int | None = None
    said: str = ""
    rates: Rates = Rates()
    costs: Mapping[str, dict[str, float]] = {}


def content(view: View, width: int, *, ascii_only: bool = False) -> Content:
    """Return the whole view in lines of at most `width` cells."""
    width = max(1, width)
    lines = list(_machine(view, width))
    lines += [Content(""), *_head(view, width)]
    plan, machine = view.plan, view.machine
    if plan is not None and machine is not None:
        lines += _warnings(plan, width)
        lines += [Content(""), *_columns(plan, machine, view, width)]
        if plan.fit is not None:
            lines += [Content(""), *_places(plan, machine, width, ascii_only=ascii_only)]
            lines += [Content(""), *_listed(_("Why"), _reasons(plan), width)]
            others = list(alternatives(plan)) or [_("Nothing that is known of would be better.")]
            lines += [Content(""), *_listed(_("What could be otherwise"), others, width)]
            lines += [Content(""), *_rests(plan, machine, view, width)]
    return Content("\n").join(lines)


def _machine(view: View, width: int) -> Iterator[Content]:
    machine = view.machine
    if machine is None:
        yield Content.styled(_("Looking at this machine …"), "dim")
        yield from _plain(view.said, width, "$text-warning")
        return
    yield _title(machine.title or _("This machine"), width)
    rests = list(told.machine_rests(machine))
    speeds = {"its memory", "its speed", "its reads"}
    for rest, speed in zip(rests, [*rests[1:], None], strict=True):
        if rest.name in speeds:
            continue
        parts = [rest.value or DASH]
        if speed is not None and speed.name in speeds:
            parts.append(f"{speed.value} {speed.origin}".removeprefix(f"{DASH} "))
        yield from _named(_(rest.name), " · ".join(parts), width)
    for note in machine.notes:
        yield from _named(_("note"), note, width)
    if view.said:
        yield from _plain(view.said, width, "$text-warning")
    elif unmeasured(machine):
        yield from _plain(filled(_(MEASURE)), width, "$text-warning")


def _head(view: View, width: int) -> Iterator[Content]:
    plan = view.plan
    left = clean_line(view.title)
    if plan is not None:
        left += f" · {backend_title(plan.backend)}"
    right = " ".join(
        part for part in (view.key, _("{place} of {among}").format(place=view.place, among=view.among)) if part
    )
    gap = width - cell_len(left) - cell_len(right)
    yield _title(left + " " * gap + right if gap > 0 else left, width)
    if plan is None:
        if view.machine is not None:
            yield from _plain(_("It cannot be planned just now."), width, "dim")
        return
    parts = [f"{plan.family} {plan.quantization}"]
    if plan.size_bytes is not None:
        parts.append(memory(plan.size_bytes))
    if plan.located.detail:
        parts.append(plan.located.detail)
    yield from _plain(" · ".join(parts), width, "dim")
    loaded = view.loaded
    if loaded is not None and loaded.layers is not None and loaded.gpu_layers is not None:
        now = _(
            "In memory now: {number}/{layers} layers on the card, context {context}. The plan is for loading it anew."
        ).format(number=loaded.gpu_layers, layers=loaded.layers, context=count(loaded.context))
        yield from _plain(now, width, "")
    if view.own_context is not None and plan.fit is not None:
        own = filled(_("the preset has {context}, and {plan.load} loads it with that"), context=count(view.own_context))
        yield from _plain(
            _("Tried with a context of {context}: {own}.").format(context=count(plan.fit.context), own=own),
            width,
            "$text-warning",
        )


def _warnings(plan: PresetPlan, width: int) -> Iterator[Content]:
    if plan.located.present is False and plan.located.hint:
        yield from _bullet("→", plan.located.hint, width, "dim")
    if plan.problem:
        # That a backend places a model itself is no fault.
        sign, style = ("!", "$text-warning") if plan.backend == PLANNED else ("·", "")
        yield from _bullet(sign, f"{plan.problem.removesuffix('.')}.", width, style)
        if plan.hint and plan.hint != plan.located.hint:
            yield from _bullet("→", plan.hint, width, "dim")
    for warning in plan.warnings:
        yield from _bullet("!", warning, width, "$text-warning")


def _columns(plan: PresetPlan, machine: Machine, view: View, width: int) -> Iterator[Content]:
    rows = [
        (_(one.name), one.predicted, one.published, one.measured)
        for one in told.columns(plan, machine, view.rates, view.costs)
    ]
    if plan.fit is None:
        rows = [row for row in rows if any(cell != DASH for cell in row[1:])]
    if not rows:
        return
    room = max(1, width - len(_INDENT))
    kept = _fitting(rows, room)
    for number, line in enumerate(table.table(_heads(), kept, room) if kept else ()):
        text = _INDENT + line
        yield Content.styled(text, "bold") if number == 0 else Content(text)
    for name, *row in (row for row in rows if row not in kept):
        cells_of = [f"{head} {cell}" for head, cell in zip(_heads()[1:], row, strict=True) if cell != DASH]
        yield from _hanging(f"{name}: {'; '.join(cells_of) or DASH}", width)


def _fitting(rows: Sequence[tuple[str, ...]], room: int) -> list[tuple[str, ...]]:
    """Return the rows whose table fits: without those that have the longest text."""
    kept = list(rows)
    while kept:
        wide = sum(max(map(cell_len, column)) for column in zip(_heads(), *kept, strict=True)) + 3 * table.GAP
        if wide <= room:
            break
        kept.remove(max(kept, key=lambda row: sum(map(cell_len, row[1:]))))
    return kept


def _places(plan: PresetPlan, machine: Machine, width: int, *, ascii_only: bool) -> Iterator[Content]:
    yield _title(_("Where the bytes go"), width)
    found = bars(plan, machine)
    tails = [_tail(bar) for bar in found]
    room = width - len(_INDENT) - _NAME - 2 - max(map(cell_len, tails), default=0) - 1
    for bar, tail in zip(found, tails, strict=True):
        if room >= _NAME:
            yield _drawn(bar, tail, room, ascii_only=ascii_only)
            if bar.room is not None and bar.whole > bar.room:
                yield _end(bar, bar.room, room, ascii_only=ascii_only)
        else:
            yield from _plain(f"{_INDENT}{bar.name} {tail}", width, "")
        yield from _legend(bar, width, ascii_only=ascii_only)
    if plan.fit is not None and plan.fit.card is None:
        yield from _plain(_INDENT + _("VRAM has no part in it: the CPU computes everything."), width, "dim")
    if plan.fit is not None and plan.fit.streamed_bytes is None:
        yield from _plain(_INDENT + _("SSD: whether each token reads from it is unknown."), width, "dim")
    elif plan.fit is not None and not plan.fit.streamed_bytes:
        yield from _plain(_INDENT + _("SSD has no part in it once the model is loaded."), width, "dim")


def _heads() -> tuple[str, ...]:
    return tuple(_(head) for head in _HEAD)


def _right(text: str, width: int) -> str:
    """Return `text` behind blanks, so that it ends where so many cells end."""
    return " " * (width - cell_len(text)) + text


def _tail(bar: Bar) -> str:
    if bar.name == "SSD":
        return _("{used} of {whole} a token").format(used=memory(bar.used), whole=memory(bar.whole))
    room = DASH if bar.room is None else memory(bar.room)
    return _("{used} of {whole}").format(used=memory(bar.used), whole=room)


def _drawn(bar: Bar, tail: str, room: int, *, ascii_only: bool) -> Content:
    left, right = ("[", "]") if ascii_only else ("▕", "▏")
    pieces = [
        ((LOOKS[kind].ascii if ascii_only else LOOKS[kind].block) * number, LOOKS[kind].style)
        for kind, number in cells(bar.parts, room)
    ]
    return Content.assemble((f"{_INDENT}{bar.name:<{_NAME}}", "bold"), left, *pieces, f"{right} {tail}")


def _end(bar: Bar, there_is: int, room: int, *, ascii_only: bool) -> Content:
    """Return a mark under a bar where the memory ends that it would need."""
    place = len(_INDENT) + _NAME + 1 + round(there_is / bar.whole * room)
    text = _("{size} too much from here on").format(size=memory(bar.whole - there_is))
    mark = "^" if ascii_only else "▲"
    line = f"{mark} {text}".rjust(place + len(text) + 2) if place < room / 2 else _right(f"{text} {mark}", place + 1)
    return Content.styled(line, "$text-error")


def _legend(bar: Bar, width: int, *, ascii_only: bool) -> Iterator[Content]:
    """Yield the figures of a bar with their signs, in as few lines as they need."""
    items = []
    for kind, size in bar.parts:
        if bar.name == "SSD" and kind == "free":
            continue
        look = LOOKS[kind]
        sign = (look.ascii if ascii_only else look.block).strip()
        items.append([(f"{sign} " if sign else "", look.style), (f"{_(look.name)} {memory(size)}", "dim")])
    indent = " " * (len(_INDENT) + _NAME + 1)
    line: list[tuple[str, str]] = []
    for item in items:
        if line and sum(cell_len(text) for text, _style in [*line, *item]) + 3 > width - len(indent):
            yield Content.assemble(indent, *line)
            line = []
        line += [("   ", ""), *item] if line else item
    if line:
        yield Content.assemble(indent, *line)


def _reasons(plan: PresetPlan) -> list[str]:
    found = plan.fit
    return [] if found is None else [text for text in (*found.reasons, told.seconds(plan)) if text]


def _rests(plan: PresetPlan, machine: Machine, view: View, width: int) -> Iterator[Content]:
    yield _title(_("What the figures rest on"), width)
    for rest in told.rests(plan, machine, view.rates):
        text = " ".join(part for part in (rest.value, rest.origin) if part)
        yield from _bullet("·", f"{_(rest.name)}: {text}", width, "dim")


def _listed(title: str, sentences: Iterable[str], width: int) -> Iterator[Content]:
    yield _title(title, width)
    for sentence in sentences:
        yield from _bullet("·", sentence, width, "")


def _title(text: str, width: int) -> Content:
    return Content.styled(table.fitted(clean_line(text), width), "bold $text-accent")


def _named(name: str, text: str, width: int) -> Iterator[Content]:
    first, *more = wrapped(clean_line(text), max(8, width - len(_INDENT) - _LABEL))
    yield Content.assemble((_INDENT + set_cell_size(name, _LABEL), "bold"), first)
    for line in more:
        yield Content(" " * (len(_INDENT) + _LABEL) + line)


def _plain(text: str, width: int, style: str) -> Iterator[Content]:
    if text:
        yield from (Content.styled(line, style) for line in wrapped(clean_line(text), max(8, width)))


def _hanging(text: str, width: int) -> Iterator[Content]:
    for number, line in enumerate(wrapped(clean_line(text), max(8, width - 2 * len(_INDENT)))):
        yield Content(f"{_INDENT * (2 if number else 1)}{line}")


def _bullet(sign: str, text: str, width: int, style: str) -> Iterator[Content]:
    first, *more = wrapped(clean_line(text), max(8, width - len(_INDENT) - 2))
    yield Content.styled(f"{_INDENT}{sign} {first}", style)
    for line in more:
        yield Content.styled(f"{_INDENT}  {line}", style)
