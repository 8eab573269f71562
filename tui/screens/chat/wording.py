"""What the chat screen says: pure functions from the session's state to text. No widget, no state."""

from __future__ import annotations

import time

from backends.errors import EngineDied, Problem
from backends.hardware.gpu import GpuReading
from backends.host.launch import Ending, LaunchStep, Starting, Waiting
from backends.host.wire import Status
from backends.titles import backend_title
from tui.chat.answer import Answer
from tui.chat.session import Session
from tui.chat.store import Conversation, StoredMessage
from tui.widgets.transcript.model import Entry, FootnoteKind

DASH = "–"
_BAR = " ▏▎▍▌▋▊▉█"


def entries(branch: list[StoredMessage], titles: dict[str, str]) -> list[Entry]:
    """Return a branch as the transcript shows it. `titles` are the presets' titles by name."""
    return [entry(message, titles) for message in branch]


def entry(message: StoredMessage, titles: dict[str, str]) -> Entry:
    """Return one stored message as the transcript shows it."""
    if message.role == "user":
        return Entry(message.id, "user", "You", clock(message.created_at), message.text)
    footnote, kind = ending(message)
    tokens = message.usage.reasoning_tokens if message.usage else None
    return Entry(
        message.id,
        "assistant",
        label(message, titles),
        clock(message.created_at),
        message.text,
        message.reasoning,
        thought_line(message.thought_s, tokens) if message.reasoning else "",
        footnote=footnote,
        footnote_kind=kind,
    )


def live_entry(message: StoredMessage, answer: Answer, titles: dict[str, str]) -> Entry:
    """Return the answer as it stands while it grows."""
    thinking = answer.thinking and not answer.text
    thought = ""
    if answer.reasoning:
        thought = thought_line(answer.thought_s, answer.reasoning_tokens)
        if thinking:
            speed = answer.tokens_per_second
            parts = ["thinking", f"{answer.reasoning_tokens:,} tokens"]
            thought = " · ".join([*parts, f"{speed:.1f} tok/s"] if speed is not None else parts)
    return Entry(
        message.id,
        "assistant",
        label(message, titles),
        clock(message.created_at),
        answer.text,
        answer.reasoning,
        thought,
        live=True,
        thinking=thinking,
    )


def problem_entry(number: int, problem: Problem) -> Entry:
    """Return a failure that belongs to no message as a notice."""
    text = "\n".join(part for part in (problem.detail, problem.hint) if part)
    return Entry(f"notice-{number}", "notice", f"✗ {problem.title}", clock(time.time()), text, footnote_kind="error")


def welcome_entry(*, starter: bool) -> Entry:
    """Return what somebody reads who has never asked anything here; `starter` is the model that answers first."""
    text = (
        "Type a question and press Enter. Each preset has a key, F2 to F7; ^l shows or hides the list.\n"
        "F1 shows every key."
    )
    if starter:
        text += "\nThe starter is a tiny model that came with the program: good for trying things out, and often wrong."
    return Entry("welcome", "notice", "Welcome to deepseek-tui", "", text)


def notes_entry(title: str, notes: tuple[str, ...]) -> Entry:
    """Return what the engine says about a model it has loaded: a context it rounded, a card it cannot use."""
    return Entry("notes", "notice", f"{title}: worth knowing", clock(time.time()), "\n".join(notes))


def label(message: StoredMessage, titles: dict[str, str]) -> str:
    """Return who answered: "Starter 135M · llama.cpp"."""
    title = titles.get(message.preset or "", message.preset or "unknown")
    return f"{title} · {backend_title(message.backend)}" if message.backend else title


def thought_line(seconds: float | None, tokens: int | None) -> str:
    """Return the folded thought's line."""
    parts = [f"thought for {duration(seconds)}" if seconds is not None else "thought"]
    if tokens:
        parts.append(f"{tokens:,} tokens")
    return " · ".join(parts)


def ending(message: StoredMessage) -> tuple[str, FootnoteKind]:
    """Return how an answer ended, where that needs saying. The transcript puts a sign of its kind before it."""
    again = f"^r tries again{_resume(message)}."
    if message.error is not None:
        kept = "What was said before is kept." if message.text or message.reasoning else ""
        error = message.error
        hint = "" if error.kind == EngineDied.kind else error.hint
        parts = (f"{error.title}.", error.detail, hint, kept, again)
        return " ".join(part for part in parts if part), "error"
    match message.state:
        case "interrupted":
            return f"Interrupted: under a second of it may be missing. {again}", "warning"
        case "stopped":
            return f"Stopped. {again}", "info"
        case "streaming":
            return "being written elsewhere", "info"
    match message.reason:
        case "context":
            return "The context is full: the answer ends here. A preset with a larger context can go on.", "warning"
        case "length":
            return "The token limit of this preset was reached. ^e goes on.", "info"
    if not message.text and message.state == "done":
        return "The model said nothing. ^r tries again.", "info"
    return "", ""


def _resume(message: StoredMessage) -> str:
    return ", ^e goes on from here" if message.text or message.reasoning else ""


def doing(session: Session) -> str:
    """Return what is being done that the transcript does not show, "" if nothing is."""
    target, loaded = session.target, session.loaded_target
    model = target.title if target else "No preset"
    text = progress(model, session.step, session.status, session.answer)
    if not text and session.watching and session.answer is not None and not session.answer.tokens:
        text = "The answer is on its way and shows here as it comes · Esc stops it"
    if text or target is None:
        return text
    if session.busy and session.answer is not None and loaded is not None and target != loaded:
        return f"{model} comes when this answer is done · Esc stops the answer"
    if not session.busy and loaded is None and not session.loading:
        return f"{model} is not in memory: it loads with your next question, or with its key"
    return ""


def not_yet(session: Session) -> str:
    """Return why a question cannot be sent while the session is busy."""
    return f"{unsaved(session) or 'An answer is running: Esc stops it'}. Your text stays here"


def unsaved(session: Session) -> str:
    """Return that the answer has ended and waits for room on the disk, "" if it does not."""
    ended = session.answer is not None and session.answer.finished
    return "The last answer is not on disk yet: make room for it" if ended and session.unsaved else ""


def status_parts(session: Session, reading: GpuReading | None, *, short: bool) -> list[str]:
    """Return the parts of the footer, most important first."""
    last = session.branch[-1] if session.branch and session.branch[-1].role == "assistant" else None
    # While an answer runs, the figures are those of the model that gives it, whichever was chosen for the next one.
    target = session.loaded_target or session.target if session.busy else session.target
    saved = saved_part(session.unsaved, answering=session.busy, empty=not session.branch)
    parts = [
        model_part(target.title if target else "No preset", session.status),
        speed_part(session.answer, last),
        context_part(session.answer, last, session.status),
        vram_part(reading, short=short),
    ]
    return [saved, *parts] if session.unsaved else [*parts[:3], saved, *parts[3:]]


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


def bar(fraction: float, width: int) -> str:
    """Return a bar of `width` cells filled to `fraction`, in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_BAR[rest] if rest else "")).ljust(width)[:width]


def model_part(title: str, status: Status | None) -> str:
    """Return the footer's first part: the model and how many of its layers are on the card."""
    if status is None or status.phase in {"ending", "failed"}:
        return f"{title} · not loaded"
    loaded = status.loaded
    if loaded is None:
        return f"{title} · loading"
    if loaded.layers is None or loaded.gpu_layers is None:
        return title
    where = f"{loaded.gpu_layers}/{loaded.layers} layers on the card" if loaded.gpu_layers else "CPU"
    return f"{title} · {where}"


def vram_part(reading: GpuReading | None, *, short: bool = False) -> str:
    """Return the card's memory, or a dash where there is no card or no word from it."""
    if reading is None or not reading.gpus:
        return f"VRAM {DASH}"
    gpu = reading.gpus[0]
    used, total = f"{gpu.used_bytes / 1e9:.1f}", f"{gpu.total_bytes / 1e9:.1f}"
    ours = f" ({gpu.ours_bytes / 1e9:.1f} ours)" if gpu.ours_bytes is not None and not short else ""
    shown = "" if short else f"▕{bar(gpu.used_bytes / gpu.total_bytes, 8)}▏ "
    return f"VRAM {shown}{used}/{total} GB{ours}"


def speed_part(answer: Answer | None, last: StoredMessage | None) -> str:
    """Return tokens a second: live while an answer grows, then the engine's own figure of the last one."""
    speed = answer.tokens_per_second if answer is not None else None
    if answer is None and last is not None and last.timings is not None:
        speed = last.timings.tokens_per_second
    return f"{speed:.1f} tok/s" if speed is not None else f"{DASH} tok/s"


def context_part(answer: Answer | None, last: StoredMessage | None, status: Status | None) -> str:
    """Return how full the context is, in the engine's own counts."""
    tokens = answer.context_tokens if answer is not None else None
    if answer is None and last is not None and last.usage is not None and last.usage.prompt_tokens is not None:
        tokens = last.usage.prompt_tokens + (last.usage.output_tokens or 0)
    context = status.loaded.context if status is not None and status.loaded is not None else None
    return f"context {count(tokens)}/{count(context)}"


def saved_part(unsaved: str, *, answering: bool, empty: bool) -> str:
    """Return whether what is on the screen is on disk."""
    if unsaved:
        return f"✗ not saved: {unsaved}"
    if empty:
        return ""
    return "saving" if answering else "saved"


def count(tokens: int | None) -> str:
    """Return a token count in at most four cells: 812, 1.2k, 32k, a dash if unknown."""
    if tokens is None:
        return DASH
    if tokens < 1000:
        return str(tokens)
    thousands = tokens / 1000 if tokens % 1024 else tokens / 1024
    return f"{thousands:.0f}k" if thousands >= 9.95 or thousands == int(thousands) else f"{thousands:.1f}k"


def duration(seconds: float) -> str:
    """Return a duration as people say it: 0.4 s, 41 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def clock(unix_s: float) -> str:
    return time.strftime("%H:%M", time.localtime(unix_s))


def days(conversations: list[Conversation], now: float) -> list[tuple[str, list[Conversation]]]:
    """Return conversations, newest first, in groups by the day of their last use."""
    today = time.strftime("%Y-%m-%d", time.localtime(now))
    yesterday = time.strftime("%Y-%m-%d", time.localtime(now - 86_400))
    groups: list[tuple[str, list[Conversation]]] = []
    for conversation in conversations:
        day = time.strftime("%Y-%m-%d", time.localtime(conversation.updated_at))
        name = "Today" if day == today else "Yesterday" if day == yesterday else day
        if not groups or groups[-1][0] != name:
            groups.append((name, []))
        groups[-1][1].append(conversation)
    return groups
