"""How long a conversation is in tokens: Ollama does not say before it has read it, so this estimates and learns."""

from __future__ import annotations

from collections.abc import Sequence

from backends.base import Message
from backends.reasoning import strip_thought

_BYTES_PER_TOKEN = 3.6
_MESSAGE_TOKENS = 6  # what a template puts around a message
_LEARN_FROM = 400  # bytes: below it the template outweighs the text
_SANE = (1.0, 12.0)


class Estimator:
    """Estimates from the length in UTF-8, which suits most languages alike, and learns from each true count."""

    def __init__(self) -> None:
        self._bytes_per_token = _BYTES_PER_TOKEN

    def count(self, messages: Sequence[Message], further: str = "") -> int:
        """Estimate the prompt tokens of a conversation, and of an unfinished answer behind it."""
        size = _size(messages) + len(further.encode(errors="replace"))
        return round(size / self._bytes_per_token) + _MESSAGE_TOKENS * (len(messages) + 1)

    def learn(self, messages: Sequence[Message], tokens: int) -> None:
        """Take in how many tokens a whole conversation truly had."""
        size, own = _size(messages), tokens - _MESSAGE_TOKENS * (len(messages) + 1)
        if size >= _LEARN_FROM and own > 0:
            low, high = _SANE
            self._bytes_per_token = min(high, max(low, size / own))


def _size(messages: Sequence[Message]) -> int:
    return sum(len(visible(message).encode(errors="replace")) for message in messages)


def visible(message: Message) -> str:
    """Return what of a message is sent: without its thought."""
    return strip_thought(message.text) if message.role == "assistant" else message.text
