"""The view of all figures as text of a given width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from rich.cells import cell_len, set_cell_size
from textual.content import Content

from tui.chat.clean import clean_line
from tui.chat.course import Point
from tui.chat.seen import Figure, Seen
from tui.screens.figures.asked import asking_figures
from tui.screens.figures.more import Published, card_figures, cost_figures, course_lines, energy_figures
from tui.screens.figures.told import Surety, Told, footer_figures
from tui.widgets.lines import wrapped
from tui.words import N_, _

NAME = 12
_STYLES: dict[Surety, str] = {
    "measured": "$text-success",
    "estimated": "$text-warning",
    "predicted": "$text-warning",
    "published": "$text-primary",
    "assumed": "$text-warning",
    "unavailable": "dim",
    "chosen": "$text-primary",
}


NAMES: dict[Surety, str] = {
    "measured": N_("measured"),
    "estimated": N_("estimated"),
    "predicted": N_("predicted"),
    "published": N_("published"),
    "assumed": N_("assumed"),
    "unavailable": N_("unavailable"),
    "chosen": N_("chosen"),
}


class View(msgspec.Struct, frozen=True):
    """What the view explains: one moment, the minutes before it, and what was published of the preset.

    `resting` says that nothing is being done, `predicted` what the plan says of a figure.
    """

    seen: Seen
    points: tuple[Point, ...] = ()
    published: Published = Published()
    resting: bool = True
    predicted: Mapping[Figure, str] = {}


class Section(msgspec.Struct, frozen=True):
    """Figures that belong together."""

    title: str
    figures: tuple[Told, ...]


def sections(view: View) -> list[Section]:
    """Return everything that is told, in its order; a section without figures is left out."""
    seen, footer = view.seen, footer_figures(view.seen)
    found = [
        Section(_("On the footer"), tuple(_with_plan(told, view.predicted.get(f, "")) for f, told in footer.items())),
        Section(_("How this chat asks"), tuple(asking_figures(seen))),
        Section(_("The card"), tuple(card_figures(seen))),
        Section(_("Energy of this answer, by device"), tuple(energy_figures(seen))),
        Section(_("Cost of this answer, in parts"), tuple(cost_figures(seen, view.published))),
    ]
    return [section for section in found if section.figures]


def content(view: View, width: int) -> Content:
    """Return the whole view in lines of at most `width` cells."""
    lines: list[Content] = []
    for section in sections(view):
        lines += [
            _title(section.title),
            *(line for told in section.figures for line in _figure(told, width)),
            Content(""),
        ]
    lines += [_title(_("The last minutes")), *_course(view.points, width)]
    return Content("\n").join(lines)


def _with_plan(told: Told, predicted: str) -> Told:
    return msgspec.structs.replace(told, notes=(*told.notes, predicted)) if predicted else told


def _title(text: str) -> Content:
    return Content.styled(text, "bold $text-accent")


def _figure(told: Told, width: int) -> Iterable[Content]:
    """Yield the lines of one figure: name, value and how sure it is, then what it is and where it is from."""
    name, value = clean_line(told.name), clean_line(told.value)
    surety = _(NAMES[told.surety])
    room = max(8, width - NAME - cell_len(surety) - 4)
    first, *more = wrapped(value, room)
    if cell_len(name) > NAME:
        yield Content.styled(f"  {_fitted(name, width - 2)}", "bold")
        name = ""
    gap = " " * max(1, width - 2 - NAME - cell_len(first) - cell_len(surety))
    yield Content.assemble((f"  {set_cell_size(name, NAME)}", "bold"), first, gap, (surety, _STYLES[told.surety]))
    indent = " " * (NAME + 2)
    for line in more:
        yield Content(f"{indent}{line}")
    text = _("Why: {source}.") if told.surety == "unavailable" else _("From: {source}.")
    source = text.format(source=told.source.removesuffix("."))
    for text in (told.what, source, *told.notes):
        for line in wrapped(clean_line(text), max(8, width - NAME - 2)):
            yield Content.styled(f"{indent}{line}", "dim")


def _course(points: Sequence[Point], width: int) -> Iterable[Content]:
    room, indent = max(8, width - NAME - 2), " " * (NAME + 2)
    for row in course_lines(points, room):
        yield Content.assemble((f"  {set_cell_size(row.name, NAME)}", "bold"), row.span)
        if row.picture:
            yield Content.styled(f"{indent}{row.picture}", "$text-accent")
            for line in wrapped(_("From: {source}.").format(source=row.source), room):
                yield Content.styled(f"{indent}{line}", "dim")
    for line in wrapped(_("Oldest left, from zero up; · is a gap: nothing was measured."), room):
        yield Content.styled(f"{indent}{line}", "dim")


def _fitted(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)) + "…"
