"""The question before a fetch as text of a given width, and which keys answer it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from textual.content import Content

from backends.errors import ErrorInfo
from backends.hub.wanted import STAYS_FREE_BYTES
from backends.shown import shown_path
from tui.chat.clean import clean_line
from tui.keys import filled
from tui.screens.fetch.offer import Offer
from tui.units import duration, memory, rate_text
from tui.widgets.lines import wrapped
from tui.words import _

_LABEL = 10
_SIZES = {"rules": "by llama.cpp's rules for it", "header": "", "": ""}


def content(offer: Offer, width: int) -> Content:
    """Return what is known, in lines of at most `width` cells."""
    return Content("\n").join([*_facts(offer, max(1, width)), *_notes(offer, max(1, width))])


def title(offer: Offer) -> str:
    """Return the question."""
    if offer.elsewhere is not None:
        return f"{offer.title}: the same model is on this machine already"
    if offer.by_server:
        return f"Ollama does not have {offer.title} yet: fetch it?"
    return f"{offer.title} is not here yet: fetch it?"


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
        yield from _fact("here", f"{same.place} keeps it: {shown_path(same.path)}, {memory(same.size)}", width)
        yield from _fact("", "It is used where it lies; nothing is fetched and nothing is copied.", width)
    yield from _fact("size", _size(offer), width)
    if offer.by_server:
        yield from _fact("from", f"Ollama's library: {offer.repository}", width)
        yield from _fact("by", f"Ollama at {offer.server}, which keeps it with its other models", width)
        yield from _fact("free", _free(offer), width)
        return
    yield from _fact("from", f"{offer.server or '–'}: {offer.repository}", width)
    yield from _fact("file", offer.file or "all of it: a model folder", width)
    yield from _fact("to", offer.folder, width)
    yield from _fact("free", _free(offer), width)
    if offer.rate and offer.to_come:
        yield from _fact("time", f"~{duration(offer.to_come / offer.rate)} at the last fetch's {_at(offer)}", width)
    yield from _fact("expected", _expected(offer), width)


def _size(offer: Offer) -> str:
    if offer.size_bytes is None and offer.by_server:
        return "– (not known before: Ollama tells it when the fetch begins)"
    if offer.size_bytes is None:
        return "– (its server is asked)" if offer.asking else "–"
    parts = [memory(offer.size_bytes), _SIZES[offer.size_of]]
    if offer.here_bytes:
        parts.append(f"{memory(offer.here_bytes)} of it are here from an earlier try")
    return ", ".join(part for part in parts if part)


def _free(offer: Offer) -> str:
    if offer.free_bytes is None:
        return "–"
    if offer.left_bytes is None or offer.left_bytes < 0:
        return memory(offer.free_bytes)
    return f"{memory(offer.free_bytes)}, and {memory(offer.left_bytes)} would be left"


def _at(offer: Offer) -> str:
    return rate_text(offer.rate or 0)


def _expected(offer: Offer) -> str:
    if not offer.expected:
        return "– (nothing is known yet of its layers)" if offer.asking else "–"
    line = offer.expected if offer.expected_fits else f"it does not fit here: {offer.expected}"
    measured = filled(_("how fast is unknown ({program.plan}, then {plan.measure}, measures this machine)"))
    unknown = measured if offer.expected_fits else ""
    return ", ".join(part for part in (line, offer.speed or unknown) if part)


def _notes(offer: Offer, width: int) -> Iterator[Content]:
    """Yield what stands in the way, and what could be done about it."""
    notes = [
        *_failed(offer.last if offer.last != offer.trouble else None, "The last try ended: ", width),
        *_failed(offer.trouble, "", width),
        *(_short(offer, width) if offer.missing_bytes else ()),
    ]
    if offer.asking:
        notes += _plain(f"Asking {offer.server} about it …", width, "dim")
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
        text = f"Too little room where Ollama keeps its models. {memory(offer.missing_bytes)} are missing."
        yield from _bullet("✗", text, width, "$text-error")
        yield from _bullet("→", "`ollama list` and `ollama rm` show and remove its models.", width, "")
        return
    text = f"{memory(offer.missing_bytes)} are missing: {memory(STAYS_FREE_BYTES)} stay free for everything else."
    yield from _bullet("✗", f"Too little room. {text}", width, "$text-error")
    for name, size in offer.removable:
        command = shlex.join(["deepseek-tui", "models", "remove", name])
        yield from _bullet("→", f"No preset uses this one, {memory(size)}: {command}", width, "")
    if not offer.removable:
        hint = "`deepseek-tui models` shows what models take; DEEPSEEK_TUI_HOME names a folder on another disk."
        yield from _bullet("→", hint, width, "")


def _fact(name: str, text: str, width: int) -> Iterator[Content]:
    first, *more = wrapped(clean_line(text), max(8, width - _LABEL))
    yield Content.assemble((f"{name:<{_LABEL}}", "bold"), first)
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
