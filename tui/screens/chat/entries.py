"""A branch as the transcript shows it: messages, how each ended, and what of them the model is not sent."""

from __future__ import annotations

from backends.errors import CannotContinue, ContextOverflow, EngineDied
from backends.fitting import fits
from backends.titles import backend_title
from tui.chat.answer import Answer
from tui.chat.history import History, history
from tui.chat.session import Session
from tui.chat.storing.stored import StoredMessage
from tui.keys import filled
from tui.units import clock, duration, speed
from tui.widgets.transcript.model import Entry, FootnoteKind
from tui.words import N_, _

NOT_SENT = N_("── not sent to the model from here up ──")
LEFT_OUT = N_("not sent")


def entries(session: Session, titles: dict[str, str]) -> list[Entry]:
    """Return the conversation of a session. `titles` are the presets' titles by name."""
    branch, sent = session.branch, history(session.branch)
    unsent, shown = set(sent.unsent), []
    if session.conversation is not None and session.conversation.asking_lost:
        shown.append(_lost_asking())
    for message in branch:
        if message.id == sent.start and unsent:
            shown.append(_mark(sent))
        if session.answering is not None and session.answer is not None and message.id == session.answering.id:
            key, number = thought_key(session), version(session, message)
            shown.append(live_entry(message, session.answer, titles, key, number))
        else:
            full, number = _filled(session, message), version(session, message)
            last, left_out = message is branch[-1], message.id in unsent
            shown.append(entry(message, titles, full, number, last=last, left_out=left_out))
    return shown


def version(session: Session, message: StoredMessage) -> str:
    """Return which version of a message this is, and of how many: "‹2/3›". "" where there is but one."""
    found = session.versions.get(message.id)
    return f"‹{found[0]}/{found[1]}›" if found is not None else ""


def entry(
    message: StoredMessage,
    titles: dict[str, str],
    full: str = "",
    number: str = "",
    *,
    last: bool = True,
    left_out: bool = False,
) -> Entry:
    """Return one stored message; `full` is what is said if it ended with the context full, `number` its version.

    Keys that go on with it are named where it is the `last` one.
    """
    title = _("You") if message.role == "user" else label(message, titles)
    if number:
        title += f" {number}"
    if left_out:
        title += f" · {_(LEFT_OUT)}"
    if message.role == "user":
        return Entry(message.id, "user", title, clock(message.created_at), message.text)
    footnote, kind = ending(message, full, last=last)
    tokens = message.usage.reasoning_tokens if message.usage else None
    return Entry(
        message.id,
        "assistant",
        title,
        clock(message.created_at),
        message.text,
        message.reasoning,
        thought_line(message.thought_s, tokens) if message.reasoning else "",
        footnote=footnote,
        footnote_kind=kind,
    )


def thought_key(session: Session) -> str:
    """Return what can be done about a thought on its way: a key, "" where the model's server takes no such wish."""
    if session.running.hurried:
        return _("closing the thought …")
    return filled(_("{answer.now} answers now")) if session.can("answer_now") else ""


def live_entry(
    message: StoredMessage, answer: Answer, titles: dict[str, str], key: str = "", number: str = ""
) -> Entry:
    """Return the answer as it stands while it grows; `key` says what can be done about its thought."""
    thinking = answer.thinking and not answer.text
    thought = ""
    if answer.reasoning:
        thought = thought_line(answer.thought_s, answer.reasoning_tokens)
        if thinking:
            rate = answer.tokens_per_second
            parts = [_("thinking"), _("{count:,} tokens").format(count=answer.reasoning_tokens)]
            if rate is not None:
                parts.append(f"{speed(rate)} tok/s")
            thought = " · ".join([*parts, key] if key else parts)
    return Entry(
        message.id,
        "assistant",
        f"{label(message, titles)} {number}".rstrip(),
        clock(message.created_at),
        answer.text,
        answer.reasoning,
        thought,
        live=True,
        thinking=thinking,
    )


def label(message: StoredMessage, titles: dict[str, str]) -> str:
    """Return who answered: "Starter 135M · llama.cpp"."""
    title = titles.get(message.preset or "", message.preset or _("unknown"))
    return f"{title} · {backend_title(message.backend)}" if message.backend else title


def thought_line(seconds: float | None, tokens: int | None) -> str:
    """Return the folded thought's line."""
    parts = [_("thought for {time}").format(time=duration(seconds)) if seconds is not None else _("thought")]
    if tokens:
        parts.append(_("{count:,} tokens").format(count=tokens))
    return " · ".join(parts)


def ending(message: StoredMessage, full: str, *, last: bool = True) -> tuple[str, FootnoteKind]:
    """Return how an answer ended, where that needs saying. The transcript puts a sign of its kind before it."""
    text, kind = _ending(message, full, _again(message) if last else "")
    return text.rstrip(), kind


def _ending(message: StoredMessage, full: str, again: str) -> tuple[str, FootnoteKind]:
    if message.error is not None:
        kept = _("What was said before is kept.") if message.text or message.reasoning else ""
        error = message.error
        hint = "" if error.kind in {EngineDied.kind, ContextOverflow.kind, CannotContinue.kind} else error.hint
        if again and error.kind == ContextOverflow.kind:
            more, anew = (
                _("{answer.resume} shows what can be done, {answer.retry} asks anew."),
                _("{answer.retry} shows what can be done."),
            )
            again = filled(more if kept else anew)
        if error.kind == CannotContinue.kind:
            anew = _("{answer.retry} asks the question once more; {preset.backend} may find a backend that can.")
            kept, again = "", filled(anew) if again else ""
        parts = (f"{error.title}.", error.detail, hint, kept, again)
        return " ".join(part for part in parts if part), "error"
    match message.state:
        case "interrupted":
            return _("Interrupted: under a second of it may be missing. {again}").format(again=again), "warning"
        case "stopped":
            return _("Stopped. {again}").format(again=again), "info"
        case "streaming":
            return _("being written elsewhere"), "info"
    match message.reason:
        case "context":
            return full or _("The context was full: the answer ends here."), "warning"
        case "length":
            goes_on = filled(_("{answer.resume} goes on.")) if again else ""
            return _("The token limit was reached. {goes_on}").format(goes_on=goes_on), "info"
    if not message.text and message.state == "done":
        return _("The model said nothing. {again}").format(again=again), "info"
    return "", ""


def _filled(session: Session, message: StoredMessage) -> str:
    """Return what can be done where the last answer has filled the context; "" for any other."""
    if message.reason != "context" or message.id != session.branch[-1].id:
        return ""
    room = session.room
    if room is None:
        return filled(_("The context is full. {answer.resume} goes on with a larger one."))
    tokens = message.usage.context_tokens if message.usage is not None else None
    if fits(tokens or 0, room.context):
        said = _("The context was full. {answer.resume} goes on: {tokens:,} tokens are loaded now.")
        return filled(said, tokens=room.context)
    is_full = _("The context of {tokens:,} tokens is full").format(tokens=room.context)
    if room.larger is not None:
        return filled(_("{is_full}. {answer.resume} goes on with {larger:,}."), is_full=is_full, larger=room.larger)
    unsent = history(session.branch).unsent
    if sum(other.role == "user" and other.id not in unsent for other in session.branch) > 1:
        said = _("{is_full}, and the model was made for no more. {answer.resume} shows what can be left out.")
        return filled(said, is_full=is_full)
    said = _("{is_full}, and the model was made for no more. Ask for a shorter answer, or use another preset.")
    return said.format(is_full=is_full)


def _lost_asking() -> Entry:
    """Return that what the chat asks of its model cannot be read: it is answered as its preset says."""
    text = _("It is answered as its preset says. {chat.asking} sets it anew; `deepseek-tui chats repair` clears it.")
    title = _("This chat's own system prompt and sampling cannot be read")
    return Entry("asking-lost", "notice", title, "", filled(text))


def _mark(sent: History) -> Entry:
    """Return the line between what is not sent and what is, with the summary that is sent instead."""
    text = _("Sent in its place, as a summary:\n{summary}").format(summary=sent.summary) if sent.summary else ""
    return Entry(f"start-{sent.start}", "notice", _(NOT_SENT), "", text)


def _again(message: StoredMessage) -> str:
    """Return which keys try again, or go on with what there is of an answer."""
    if message.text or message.reasoning:
        return filled(_("{answer.retry} tries again, {answer.resume} goes on from here."))
    return filled(_("{answer.retry} tries again."))
