"""What is being done that the transcript does not show: loading, waiting, reading the prompt, making room."""

from __future__ import annotations

from backends.host.launch import Ending, LaunchStep, Starting, Waiting
from backends.host.wire import Status
from tui.chat.answer import Answer
from tui.chat.remedies import Counting
from tui.chat.session import Session
from tui.chat.summary import Summarising
from tui.keys import filled
from tui.units import bar
from tui.words import _


def doing(session: Session) -> str:
    """Return what is being done that the transcript does not show, "" if nothing is."""
    target, loaded = session.target, session.loaded_target
    model = target.title if target else _("No preset")
    text = progress(model, session.step, session.status, session.answer)
    if not text and session.running.watching and session.answer is not None and not session.answer.tokens:
        text = filled(_("The answer is on its way and shows here as it comes · {answer.stop} stops it"))
    text = text or preparing(session) or looping(session)
    if text or target is None:
        return text
    if session.busy and session.answer is not None and loaded is not None and target != loaded:
        return filled(_("{model} comes when this answer is done · {answer.stop} stops the answer"), model=model)
    if loaded is None and not (session.busy or session.loading or session.warming):
        return _("{model} is not in memory: your next question loads it, or its key").format(model=model)
    return ""


def preparing(session: Session) -> str:
    """Return what is done for an answer before it can be begun again, "" if nothing is."""
    match session.remedies.preparing:
        case Counting():
            return filled(_("Counting what fits into the context · {answer.stop} stops"))
        case Summarising(messages=messages, tokens=tokens):
            said = _("Summarising {messages} messages · {tokens:,} tokens · {answer.stop} stops")
            return filled(said, messages=messages, tokens=tokens)
    return ""


def looping(session: Session) -> str:
    """Return that the model goes round in circles and which key helps, "" if it does not."""
    answer = session.answer
    if answer is None or not answer.looping:
        return ""
    closable = answer.thinking and not session.running.hurried and session.can("answer_now")
    if closable:
        return filled(_("It repeats itself: {answer.now} answers now, {answer.stop} stops"))
    return filled(_("It repeats itself: {answer.stop} stops"))


def no_thought(session: Session) -> str:
    """Return why no thought can be closed now."""
    if session.answer is not None and session.answer.thinking and not session.can("answer_now"):
        return filled(_("The server of this model cannot close a thought. {answer.stop} stops it"))
    return _("There is no thought to close")


def not_yet(session: Session) -> str:
    """Return why a question cannot be sent while the session is busy."""
    if session.remedies.busy:
        doing = filled(_("An answer is being prepared: {answer.stop} stops it"))
    else:
        doing = filled(_("An answer is running: {answer.stop} stops it"))
    return _("{why}. Your text stays here").format(why=unsaved(session) or doing)


def unsaved(session: Session) -> str:
    """Return that the answer has ended and waits for room on the disk, "" if it does not."""
    ended = session.answer is not None and session.answer.finished
    return _("The last answer is not on disk yet: make room for it") if ended and session.unsaved else ""


def progress(title: str, step: LaunchStep | None, status: Status | None, answer: Answer | None) -> str:
    """Return what is being done before the first token, "" if nothing is."""
    match step:
        case Waiting(title=other, phase=phase):
            doing = {"loading": _("is loading"), "prefill": _("is answering"), "decode": _("is answering")}.get(
                phase, phase
            )
            said = _("In line: {model} {doing}. It is not ended unasked. {answer.stop} gives up")
            return filled(said, model=other, doing=doing)
        case Ending(title=other):
            return _("{title}: ending {other}, to free its memory").format(title=title, other=other)
        case Starting():
            return _("{title}: starting").format(title=title)
    if status is not None and status.phase == "loading":
        load = status.load
        if load is None or load.stage == "warming":
            return _("{title}: warming up").format(title=title)
        doing = {"reading": _("reading the model"), "offloading": _("onto the GPU")}[load.stage]
        note = f" · {load.note}" if load.note else ""
        stage = f"{title}: {doing}{_fraction(load.fraction)}{note}"
        return filled(_("{stage} · {answer.stop} stops"), stage=stage)
    if answer is not None and not answer.tokens and not answer.finished:
        if answer.prompt is None:
            line = filled(_("In line behind another answer of this model · {answer.stop} gives up"))
            return line if status and status.waiting else ""
        done, total = answer.prompt.done, answer.prompt.total
        if done < total:
            said = _("Reading the prompt{share} · {done:,}/{total:,} tokens · {answer.stop} stops")
            return filled(said, share=_fraction(done / total), done=done, total=total)
    return ""


def _fraction(fraction: float | None) -> str:
    return "" if fraction is None else f" ▕{bar(fraction, 16)}▏ {fraction:.0%}"
