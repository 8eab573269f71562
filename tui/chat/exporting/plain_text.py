"""A chat as plain text: as `chats show` prints it. The words about an answer serve Markdown too."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from backends.events import ASSUMED_TARIFF
from backends.titles import backend_title
from tui import units
from tui.chat.asking import words
from tui.chat.clean import clean, clean_line
from tui.chat.storing.stored import Conversation, StoredMessage

LEFT_OUT = "not sent to the model from here up"
_CUT = {"length": "ended at the token limit", "context": "ended with the context full"}


def text(
    chat: Conversation,
    messages: Sequence[StoredMessage],
    *,
    thoughts: bool,
    versions: Mapping[str, tuple[int, int]] | None = None,
) -> str:
    """Return a conversation as plain text, made harmless, with or without what was thought.

    `versions` says of messages that have several which one it is, and of how many.
    """
    return clean("\n".join(_lines(chat, messages, versions or {}, thoughts=thoughts))) + "\n"


def _lines(
    chat: Conversation, messages: Sequence[StoredMessage], versions: Mapping[str, tuple[int, int]], *, thoughts: bool
) -> Iterator[str]:
    yield clean_line(chat.title)
    yield f"{chat.id} · {when(chat.created_at)} · {units.counted(len(messages), 'message')}"
    if chat.asking is not None:
        yield f"Asks for: {', '.join(words(chat.asking))}"
    if chat.asking is not None and chat.asking.system:
        yield f"\nSystem prompt\n{chat.asking.system}"
    if chat.asking_lost:
        yield "! This chat's own system prompt and sampling cannot be read; `deepseek-tui chats repair` clears them"
    for message in messages:
        if message.context_start is not None:
            yield f"\n── {LEFT_OUT} ──"
            if message.context_start:
                yield f"In its place, a summary:\n{message.context_start}"
        number, many = versions.get(message.id, (1, 1))
        version = f"version {number} of {many}" if many > 1 else ""
        parts = (who(message), when(message.created_at), version, ending(message))
        yield "\n" + " · ".join(part for part in parts if part)
        if message.reasoning:
            yield f"({thought(message)})"
            if thoughts:
                yield "<think>\n" + message.reasoning.strip("\n") + "\n</think>\n"
        if message.text:
            yield message.text.strip("\n")
        if message.error is not None:
            yield from (f"! {clean_line(line)}" for line in (message.error.title, message.error.detail) if line)


def who(message: StoredMessage) -> str:
    """Return who said it, in one line: the preset, or what is known instead of it, and the backend."""
    if message.role == "user":
        return "You"
    name = message.preset or message.model or message.role
    return clean_line(f"{name} · {backend_title(message.backend)}" if message.backend else name)


def ending(message: StoredMessage) -> str:
    """Return how an answer ended, "" where it came to its end."""
    if message.state == "streaming":
        return "being written"
    return _CUT.get(message.reason or "", "") if message.state == "done" else message.state


def thought(message: StoredMessage) -> str:
    """Return how long was thought, as far as it is known."""
    parts = ["thought" + (f" for {units.duration(message.thought_s)}" if message.thought_s is not None else "")]
    if message.usage is not None and message.usage.reasoning_tokens:
        parts.append(f"{message.usage.reasoning_tokens:,} tokens")
    return " · ".join(parts)


def took(message: StoredMessage) -> str:
    """Return what an answer took, without what is not known: tokens, speed, energy, money; "" if nothing is."""
    usage, timings, energy, cost = message.usage, message.timings, message.energy, message.cost
    parts = []
    if usage is not None and usage.prompt_tokens is not None:
        parts.append(f"{usage.prompt_tokens:,} tokens read")
    if usage is not None and usage.output_tokens is not None:
        parts.append(f"{usage.output_tokens:,} tokens written")
    if timings is not None and timings.tokens_per_second is not None:
        parts.append(f"{units.speed(timings.tokens_per_second)} tok/s")
    guessed = energy is not None and energy.source != "measured"
    if energy is not None:
        more = " (a part is missing)" if energy.incomplete else ""
        parts.append(f"{'~' if guessed else ''}{units.energy(energy.joules)}{more}")
    if cost is not None:
        assumed = cost.source == ASSUMED_TARIFF
        about = "~" if cost.source != "preset" and (guessed or assumed or cost.assumptions) else ""
        price = units.money(cost.amount, clean_line(cost.currency))
        parts.append(f"{about}{price}{' (assumed tariff)' if assumed else ''}")
    return " · ".join(parts)


def when(moment: float) -> str:
    """Return a moment as people read it here: the date and the time of day."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
    except (OverflowError, ValueError, OSError):
        return "–"
