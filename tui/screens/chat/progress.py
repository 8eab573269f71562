"""What is being done that the transcript does not show: loading, waiting, reading the prompt, making room."""

from __future__ import annotations

from backends.host.launch import Ending, LaunchStep, Starting, Waiting
from backends.host.wire import Status
from tui.chat.answer import Answer
from tui.chat.remedies import Counting
from tui.chat.session import Session
from tui.chat.summary import Summarising
from tui.units import bar


def doing(session: Session) -> str:
    """Return what is being done that the transcript does not show, "" if nothing is."""
    target, loaded = session.target, session.loaded_target
    model = target.title if target else "No preset"
    text = progress(model, session.step, session.status, session.answer)
    if not text and session.running.watching and session.answer is not None and not session.answer.tokens:
        text = "The answer is on its way and shows here as it comes · Esc stops it"
    text = text or preparing(session) or looping(session)
    if text or target is None:
        return text
    if session.busy and session.answer is not None and loaded is not None and target != loaded:
        return f"{model} comes when this answer is done · Esc stops the answer"
    if not session.busy and loaded is None and not session.loading:
        return f"{model} is not in memory: your next question loads it, or its key"
    return ""


def preparing(session: Session) -> str:
    """Return what is done for an answer before it can be begun again, "" if nothing is."""
    match session.remedies.preparing:
        case Counting():
            return "Counting what fits into the context · Esc stops"
        case Summarising(messages=messages, tokens=tokens):
            return f"Summarising {messages} messages · {tokens:,} tokens · Esc stops"
    return ""


def looping(session: Session) -> str:
    """Return that the model goes round in circles and which key helps, "" if it does not."""
    answer = session.answer
    if answer is None or not answer.looping:
        return ""
    closable = answer.thinking and not session.running.hurried and session.can("answer_now")
    keys = "^y answers now, Esc stops" if closable else "Esc stops"
    return f"It repeats itself: {keys}"


def no_thought(session: Session) -> str:
    """Return why no thought can be closed now."""
    if session.answer is not None and session.answer.thinking and not session.can("answer_now"):
        return "The server of this model cannot close a thought. Esc stops it"
    return "There is no thought to close"


def not_yet(session: Session) -> str:
    """Return why a question cannot be sent while the session is busy."""
    doing = "An answer is being prepared" if session.remedies.busy else "An answer is running"
    return f"{unsaved(session) or f'{doing}: Esc stops it'}. Your text stays here"


def unsaved(session: Session) -> str:
    """Return that the answer has ended and waits for room on the disk, "" if it does not."""
    ended = session.answer is not None and session.answer.finished
    return "The last answer is not on disk yet: make room for it" if ended and session.unsaved else ""


def progress(title: str, step: LaunchStep | None, status: Status | None, answer: Answer | None) -> str:
    """Return what is being done before the first token, "" if nothing is."""
    match step:
        case Waiting(title=other, phase=phase):
            doing = {"loading": "is loading", "prefill": "is answering", "decode": "is answering"}.get(phase, phase)
            return f"In line: {other} {doing}. It is not ended unasked. Esc gives up"
        case Ending(title=other):
            return f"{title}: ending {other}, to free its memory"
        case Starting():
            return f"{title}: starting"
    if status is not None and status.phase == "loading":
        load = status.load
        if load is None or load.stage == "warming":
            return f"{title}: warming up"
        doing = {"reading": "reading the model", "offloading": "onto the GPU"}[load.stage]
        note = f" · {load.note}" if load.note else ""
        return f"{title}: {doing}{_fraction(load.fraction)}{note} · Esc stops"
    if answer is not None and not answer.tokens and not answer.finished:
        if answer.prompt is None:
            return "In line behind another answer of this model · Esc gives up" if status and status.waiting else ""
        done, total = answer.prompt.done, answer.prompt.total
        if done < total:
            return f"Reading the prompt{_fraction(done / total)} · {done:,}/{total:,} tokens · Esc stops"
    return ""


def _fraction(fraction: float | None) -> str:
    return "" if fraction is None else f" ▕{bar(fraction, 16)}▏ {fraction:.0%}"
