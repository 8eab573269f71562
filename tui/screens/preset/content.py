"""What stands beside and below the fields of a preset: pure functions from what was typed to text."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.cells import set_cell_size
from textual.content import Content

from presets.plan import PresetPlan
from presets.problems import PresetError
from tui.chat.clean import clean_line
from tui.plans.brief import brief, expected
from tui.screens.preset.form import Checked, Field
from tui.widgets.lines import wrapped
from tui.words import _

_LABEL = 14


class About(msgspec.Struct, frozen=True):
    """What of a preset does not change while it is edited: whether it stands in a file of the user's, and runs."""

    title: str
    file: str
    own: bool
    running: bool


class Plans(msgspec.Struct, frozen=True):
    """The plan before anything was changed, and of what is typed; `made` says that there is one by now."""

    before: PresetPlan | None = None
    now: PresetPlan | None = None
    made: bool = False


def note(field: Field, text: str, checked: Checked | None) -> str:
    """Return what is to be known of one field."""
    if checked is not None and field.key in checked.wrong:
        return "✗"  # Below it is said in full.
    if not text.strip() and checked is not None and field.key in checked.empty:
        return _("left empty it is {value}").format(value=clean_line(checked.empty[field.key]))
    if text != field.text and text in field.notes:
        return clean_line(field.notes[text])
    return field.unit


def fault(problem: PresetError) -> str:
    """Return what is wrong, without the place where it would stand."""
    return clean_line(" ".join(part for part in (f"{problem.note or problem.what}.", problem.hint) if part))


def below(about: About, checked: Checked | None, plans: Plans, said: str, width: int) -> Content:
    """Return the lines below the fields."""
    lines = [Content.styled(line, "$text-warning") for line in _wrong(checked, said, width)]
    lines += _plan(plans, checked, width)
    lines += [Content.styled(line, "dim") for text in _what_follows(about) for line in wrapped(text, width)]
    return Content("\n").join(lines)


def _wrong(checked: Checked | None, said: str, width: int) -> Iterator[str]:
    problems = [said] if said else []
    if checked is not None:
        problems += [f"{problem.path[-1]}: {fault(problem)}" for problem in checked.wrong.values()]
        if checked.fault is not None:
            where = f"{checked.fault.key}: " if checked.fault.key else ""
            problems.append(f"{where}{checked.fault.what}. {fault(checked.fault)}")
    for text in problems:
        yield from wrapped(f"✗ {clean_line(text)}", width)


def _plan(plans: Plans, checked: Checked | None, width: int) -> Iterator[Content]:
    room = max(20, width - _LABEL)
    if plans.now is None:
        yield _labelled(_("Plan"), "–" if plans.made else "…")
        return
    now, before = _told(plans.now, room), "" if plans.before is None else _told(plans.before, room)
    for number, line in enumerate(wrapped(now, room)):
        yield _labelled("" if number else _("Plan"), line)
    if before and before != now:
        for number, line in enumerate(wrapped(before, room)):
            yield _labelled("" if number else _("as it was"), line, "dim")
    if checked is not None and not checked.right:
        yield Content.styled(_("Planned without what is wrong."), "dim")
    for warning in plans.now.warnings:
        for line in wrapped(clean_line(warning), width):
            yield Content.styled(line, "$text-warning")


def _told(plan: PresetPlan, room: int) -> str:
    """Return a plan in one line, also of a model that has yet to come."""
    if plan.fit is None:
        return clean_line(plan.problem or brief(plan, room=room).detail)
    here = plan.located.present is not False
    told = expected(plan, room)
    parts = [told.detail, told.speed] if told is not None else []
    return " · ".join(part for part in (*parts, "" if here else _("not here yet")) if part)


def _labelled(label: str, text: str, style: str = "bold") -> Content:
    return Content.assemble((set_cell_size(label, _LABEL), "dim"), (text, style))


def _what_follows(about: About) -> Iterator[str]:
    if about.own:
        yield _("Written into your file {file}.").format(file=clean_line(about.file))
    else:
        yield _("What differs is written into a file of yours, {file}. The built-in stays as it came.").format(
            file=clean_line(about.file)
        )
    if about.running:
        yield _("It is in memory now and runs on as it is, until it is chosen again.")
