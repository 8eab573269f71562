"""What is said about an answer in plain sentences: what is waited for, how long was thought, how it ended."""

from __future__ import annotations

from collections.abc import Iterator

from backends.errors import CannotContinue, ContextOverflow, ErrorInfo, NewOrigin, Problem, to_info
from backends.events import ASSUMED_TARIFF
from backends.host.launch import Ending, Starting, Waiting
from tui import units
from tui.chat.clean import clean_line
from tui.chat.remedies import Counting
from tui.chat.session import Session
from tui.chat.storing.stored import StoredMessage
from tui.chat.summary import Summarising
from tui.words import _, ngettext


def waiting(session: Session) -> str:
    """Return what is waited for before the first word, "" if nothing is."""
    status, target = session.status, session.target
    title = target.title if target is not None else ""
    match session.step:
        case Waiting(title=other):
            return _("In line: {other} is busy, and is not ended unasked").format(other=other)
        case Ending(title=other):
            return _("Ending {other}, to free its memory").format(other=other)
        case Starting():
            return _("Starting {title}").format(title=title)
    match session.remedies.preparing:
        case Counting():
            return _("Counting what fits into the context")
        case Summarising(messages=messages):
            text = ngettext("Summarising {count} message", "Summarising {count} messages", messages)
            return text.format(count=messages)
    if status is not None and status.phase == "loading":
        return _("Loading {title}").format(title=title) + _share(status.load.fraction if status.load else None)
    answer = session.answer
    if answer is None or answer.tokens or answer.finished:
        return ""
    if answer.prompt is None:
        return _("In line behind another answer of this model") if status is not None and status.waiting else ""
    if answer.prompt.done < answer.prompt.total:
        return _("Reading the question") + _share(answer.prompt.done / answer.prompt.total)
    return ""


def thought(seconds: float | None, tokens: int | None) -> str:
    """Return how long was thought, as far as it is known."""
    time, many = units.duration(seconds or 0.0), f"{tokens or 0:,}"
    if seconds is None:
        return _("Thought: {tokens} tokens").format(tokens=many) if tokens else _("Thought")
    if not tokens:
        return _("Thought for {time}").format(time=time)
    return _("Thought for {time}, {tokens} tokens").format(time=time, tokens=many)


def ending(message: StoredMessage) -> Iterator[str]:
    """Yield how an answer ended: what it took, or what went wrong and what to do."""
    if message.error is not None:
        yield from failure(message.error)
        if message.error.kind != ContextOverflow.kind:
            yield again(message)
        return
    match message.state, message.reason:
        case "interrupted", _reason:
            yield _("Interrupted: under a second of it may be missing. {again}").format(again=again(message))
        case "stopped", _reason:
            yield _("Stopped. {again}").format(again=again(message))
        case _state, "context":
            yield _("The context is full: the answer ends here. /resume goes on with a larger one, if there is one.")
        case _state, "length":
            yield _("The token limit of this preset is reached. /resume goes on.")
        case _state, _reason if not message.text:
            yield _("The model said nothing. {again}").format(again=again(message))
    if took := figures(message):
        yield _("Done: {figures}.").format(figures=took) if message.state == "done" else f"{took}."


def figures(message: StoredMessage) -> str:
    """Return the figures of an answer that are known, "" if none is."""
    timings, energy, cost = message.timings, message.energy, message.cost
    parts = []
    if timings is not None and timings.tokens_per_second is not None:
        parts.append(_("{speed} tokens a second").format(speed=units.speed(timings.tokens_per_second)))
    guessed = energy is not None and energy.source != "measured"
    if energy is not None:
        parts.append(_about(units.energy(energy.joules), guessed=guessed))
    if cost is not None:
        assumed = cost.source == ASSUMED_TARIFF or bool(cost.assumptions)
        price = units.money(cost.amount, clean_line(cost.currency))
        parts.append(_about(price, guessed=cost.source != "preset" and (guessed or assumed)))
    return ", ".join(parts)


def again(message: StoredMessage) -> str:
    """Return which commands go on with an answer that was cut off."""
    if message.text or message.reasoning:
        return _("/resume goes on from here, /retry begins anew.")
    return _("/retry asks once more.")


def failure(error: BaseException | ErrorInfo) -> Iterator[str]:
    """Yield what went wrong, where, and what to do."""
    info = error if isinstance(error, ErrorInfo) else to_info(error)
    hint = info.hint
    if info.kind == CannotContinue.kind:
        hint = _("/retry asks the question once more; /backend may find a server that can go on.")
    elif info.kind in {ContextOverflow.kind, NewOrigin.kind}:
        hint = ""  # It is asked about.
    yield _("Problem: {title}.").format(title=clean_line(info.title).removesuffix("."))
    yield from (clean_line(part) for part in (info.detail, hint) if part.strip())


def problem(error: Problem) -> str:
    """Return a failure that belongs to no answer, a line for each part."""
    return "\n".join(failure(error))


def _share(fraction: float | None) -> str:
    return "" if fraction is None else f": {int(fraction * 100)} %"


def _about(figure: str, *, guessed: bool) -> str:
    if figure.startswith("<"):
        return _("less than {figure}").format(figure=figure[1:])
    return _("about {figure}").format(figure=figure) if guessed else figure
