"""Chats of other programs as JSON: lists of messages as OpenAI's and Ollama's interfaces take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from backends.shown import printable
from tui.chat.importing.incoming import CannotImport, Incoming, Role, Said, from_said, taken_apart

MOST_MESSAGES = 200_000
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_OF_TOOLS = {"tool", "function"}
_PLURALS = {
    "message of a tool": "messages of a tool",
    "call of a tool": "calls of a tool",
    "picture or other part": "pictures or other parts",
}


class _Part(msgspec.Struct, frozen=True):
    type: str
    text: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One message. Thoughts are `reasoning_content` at DeepSeek and vLLM, `reasoning` elsewhere, `thinking` in Ollama.

    What else a program says about it is not read.
    """

    role: str
    content: str | list[str | _Part] | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    thinking: Any = None
    images: Any = None
    tool_calls: Any = None


class Conversation(msgspec.Struct, frozen=True):
    """The body of a request, or a line of a training file."""

    messages: list[Message]
    title: str | None = None
    model: str | None = None


def incoming(found: Conversation | Sequence[Message], place: str) -> Incoming:
    """Return a chat of one such list. Raises CannotImport if nothing in it can be taken in."""
    given = found if isinstance(found, Conversation) else Conversation(list(found))
    if len(given.messages) > MOST_MESSAGES:
        raise CannotImport(
            "The chat is too long",
            f"{place}: {len(given.messages):,} messages, and {MOST_MESSAGES:,} can be",
            "Split it.",
        )
    left_out: Counter[str] = Counter()
    said = [one for number, message in enumerate(given.messages) if (one := _said(message, number, place, left_out))]
    if not said:
        raise CannotImport("There are no messages in it", place, "A list of messages has at least one with text.")
    told = tuple(f"{count} {what if count == 1 else _PLURALS[what]}" for what, count in left_out.items())
    return Incoming(from_said(said, title=given.title or "", model=given.model), place, own=False, left_out=told)


def _said(message: Message, number: int, place: str, left_out: Counter[str]) -> Said | None:
    if message.role in _OF_TOOLS:
        left_out["message of a tool"] += 1
        return None
    role = _ROLES.get(message.role)
    if role is None:
        raise CannotImport(
            "Nobody knows who says this",
            f"{place}: messages[{number}].role is {printable(message.role)!r}",
            f"It is one of {', '.join([*_ROLES, *sorted(_OF_TOOLS)])}.",
        )
    text = _text(message, left_out)
    if isinstance(message.images, list) and message.images:
        left_out["picture or other part"] += len(message.images)
    if message.tool_calls:
        left_out["call of a tool"] += 1
    if role != "assistant":
        return Said(role, text) if text else None
    kept = (message.reasoning_content, message.reasoning, message.thinking)
    thought = next((one for one in kept if isinstance(one, str) and one), "")
    if not thought:
        thought, text = taken_apart(text)
    return Said(role, text, thought) if text or thought else None


def _text(message: Message, left_out: Counter[str]) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    texts = []
    for part in message.content:
        if isinstance(part, str):
            texts.append(part)
        elif part.type in {"text", "input_text", "output_text"} and part.text is not None:
            texts.append(part.text)
        else:
            left_out["picture or other part"] += 1
    return "\n".join(texts)
