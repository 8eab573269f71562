"""The question before a fetch as text of a given width, and which keys answer it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from rich.cells import set_cell_size
from textual.content import Content

from backends.errors import ErrorInfo
from backends.hub.wanted import STAYS_FREE_BYTES
from backends.shown import printable, shown_path
from presets.building import Building
from tui.chat.clean import clean_line
from tui.keys import filled
from tui.screens.fetch.offer import Offer
from tui.units import duration, memory, rate_text, roughly
from tui.widgets.lines import wrapped
from tui.words import N_, _

_LABEL = 10
_SIZES = {"rules": N_("by llama.cpp's rules for it"), "header": "", "": ""}


def content(offer: Offer, width: int) -> Content:
    """Return what is known, in lines of at most `width` cells."""
    return Content("\n").join([*_facts(offer, max(1, width)), *_notes(offer, max(1, width))])


def title(offer: Offer) -> str:
    """Return the question."""
    if offer.elsewhere is not None:
        return _("{title}: the same model is on this machine already").format(title=offer.title)
    if offer.by_server:
        return _("Ollama does not have {title} yet: fetch it?").format(title=offer.title)
    return _("{title} is not here yet: fetch it?").format(title=offer.title)


def keys(offer: Offer) -> str:
    """Return which keys answer."""
    if offer.elsewhere is not None:
        again = _("it all the same") if offer.missing_bytes else _("a second copy")
        return filled(_("{fetch.yes} uses it · {fetch.fetch} fetches {again} · {fetch.no} leaves it"), again=again)
    if offer.missing_bytes:
        return filled(_("{fetch.fetch} fetches it all the same · {fetch.no} leaves it"))
    if offer.here_bytes:
        return filled(_("{fetch.yes} goes on with it · {fetch.no} leaves it"))
    return filled(_("{fetch.yes} fetches it · {fetch.no} leaves it"))


def _facts(offer: Offer, width: int) -> Iterator[Content]:
    yield from _plain(" · ".join(part for part in (offer.model, offer.licence) if part), width, "bold")
    yield from _plain(offer.description, width, "dim")
    yield Content("")
    same = offer.elsewhere
    if same is not None:
        yield from _fact(
            _("here"),
            _("{place} keeps it: {path}, {size}").format(
                place=same.place, path=shown_path(same.path), size=memory(same.size)
            ),
            width,
        )
        yield from _fact("", _("It is used where it lies; nothing is fetched and nothing is copied."), width)
    yield from _fact(_("size"), _size(offer), width)
    if offer.by_server:
        yield from _fact(_("from"), _("Ollama's library: {repository}").format(repository=offer.repository), width)
        yield from _fact(
            _("by"), _("Ollama at {server}, which keeps it with its other models").format(server=offer.server), width
        )
        yield from _fact(_("free"), _free(offer), width)
        return
    yield from _fact(_("from"), f"{offer.server or '–'}: {offer.repository}", width)
    yield from _fact(_("file"), offer.file or _("all of it: a model folder"), width)
    yield from _fact(_("to"), offer.folder, width)
    yield from _fact(_("free"), _free(offer), width)
    if offer.rate and offer.to_come:
        yield from _fact(
            _("time"),
            _("~{time} at the last fetch's {rate}").format(time=duration(offer.to_come / offer.rate), rate=_at(offer)),
            width,
        )
    yield from _fact(_("expected"), _expected(offer), width)
    if offer.build is not None:
        yield Content("")
        yield from _fact(_("or make"), _made(offer.build, offer.build_s, offer.preset), width)


def _made(build: Building, seconds: float | None, preset: str) -> str:
    """Say what making the model here takes, and the command that does it."""
    parts = [_("the mix {recipe} here").format(recipe=printable(build.recipe, 80))]
    if build.to_fetch:
        parts.append(_("{size} to fetch").format(size=memory(build.to_fetch)))
    if build.result_bytes is not None:
        parts.append(_("{size} in the end").format(size=memory(build.result_bytes)))
    if build.room_bytes is not None:
        parts.append(_("{size} free needed").format(size=memory(build.room_bytes)))
    if seconds is not None:
        parts.append(_("about {time}").format(time=roughly(seconds)))
    return f"{', '.join(parts)}: {shlex.join(['deepseek-tui', 'quantize', preset])}"


def _size(offer: Offer) -> str:
    if offer.size_bytes is None and offer.by_server:
        return _("– (not known before: Ollama tells it when the fetch begins)")
    if offer.size_bytes is None:
        return _("– (its server is asked)") if offer.asking else "–"
    parts = [memory(offer.size_bytes), _(_SIZES[offer.size_of])]
    if offer.here_bytes:
        parts.append(_("{size} of it are here from an earlier try").format(size=memory(offer.here_bytes)))
    return ", ".join(part for part in parts if part)


def _free(offer: Offer) -> str:
    if offer.free_bytes is None:
        return "–"
    if offer.left_bytes is None or offer.left_bytes < 0:
        return memory(offer.free_bytes)
    return _("{free}, and {left} would be left").format(free=memory(offer.free_bytes), left=memory(offer.left_bytes))


def _at(offer: Offer) -> str:
    return rate_text(offer.rate or 0)


def _expected(offer: Offer) -> str:
    if not offer.expected:
        return _("– (nothing is known yet of its layers)") if offer.asking else "–"
    line = (
        offer.expected if offer.expected_fits else _("it does not fit here: {expected}").format(expected=offer.expected)
    )
    measured = filled(_("how fast is unknown ({program.plan}, then {plan.measure}, measures this machine)"))
    unknown = measured if offer.expected_fits else ""
    return ", ".join(part for part in (line, offer.speed or unknown) if part)


def _notes(offer: Offer, width: int) -> Iterator[Content]:
    """Yield what stands in the way, and what could be done about it."""
    notes = [
        *_failed(offer.last if offer.last != offer.trouble else None, _("The last try ended: "), width),
        *_failed(offer.trouble, "", width),
        *(_short(offer, width) if offer.missing_bytes else ()),
    ]
    if offer.asking:
        notes += _plain(_("Asking {server} about it …").format(server=offer.server), width, "dim")
    if notes:
        yield Content("")
        yield from notes


def _failed(error: ErrorInfo | None, before: str, width: int) -> Iterator[Content]:
    if error is not None:
        yield from _bullet(
            "✗", f"{before}{error.title.removesuffix('.')}. {error.detail}".rstrip(), width, "$text-error"
        )
        if error.hint:
            yield from _bullet("→", error.hint, width, "")


def _short(offer: Offer, width: int) -> Iterator[Content]:
    if offer.by_server:
        text = _("Too little room where Ollama keeps its models. {missing} are missing.").format(
            missing=memory(offer.missing_bytes)
        )
        yield from _bullet("✗", text, width, "$text-error")
        yield from _bullet("→", _("`ollama list` and `ollama rm` show and remove its models."), width, "")
        return
    text = _("{missing} are missing: {kept} stay free for everything else.").format(
        missing=memory(offer.missing_bytes), kept=memory(STAYS_FREE_BYTES)
    )
    yield from _bullet("✗", _("Too little room. {text}").format(text=text), width, "$text-error")
    for name, size in offer.removable:
        command = shlex.join(["deepseek-tui", "models", "remove", name])
        yield from _bullet(
            "→", _("No preset uses this one, {size}: {command}").format(size=memory(size), command=command), width, ""
        )
    if not offer.removable:
        hint = _("`deepseek-tui models` shows what models take; DEEPSEEK_TUI_HOME names a folder on another disk.")
        yield from _bullet("→", hint, width, "")


def _fact(name: str, text: str, width: int) -> Iterator[Content]:
    first, *more = wrapped(clean_line(text), max(8, width - _LABEL))
    yield Content.assemble((set_cell_size(name, _LABEL), "bold"), first)
    for line in more:
        yield Content(" " * _LABEL + line)


def _plain(text: str, width: int, style: str) -> Iterator[Content]:
    if text:
        yield from (Content.styled(line, style) for line in wrapped(clean_line(text), max(8, width)))


def _bullet(sign: str, text: str, width: int, style: str) -> Iterator[Content]:
    first, *more = wrapped(clean_line(text), max(8, width - 2))
    yield Content.styled(f"{sign} {first}", style)
    for line in more:
        yield Content.styled(f"  {line}", style)
