"""What of a conversation the context can take: counted with the engine's own tokens before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from backends.base import Message, TokenCount
from backends.errors import ContextOverflow

PAGE = 256
"""Tokens; llama.cpp pads its KV cache to multiples of it, and ExLlamaV2 has pages of it."""

# The least room for an answer: below it the question is not worth asking.
_RESERVE = 256


class Fit(msgspec.Struct, frozen=True):
    """How a conversation fits into a context of `context` tokens.

    `tokens` are those of the whole prompt. `first` is the index of the first message that can be sent (a system message
    is always sent besides), 0 if all can; `kept_tokens` is the prompt from there. None if not even the last fits.
    """

    tokens: int
    context: int
    first: int | None = 0
    kept_tokens: int | None = None
    exact: bool = True


def round_context(tokens: int) -> int:
    """Return the next multiple of 256, in which engines give out their caches."""
    return -(-tokens // PAGE) * PAGE


def context_notes(asked: int, trained: int | None) -> list[str]:
    """Return what the user should know about a context of `asked` tokens, as sentences."""
    context = round_context(asked)
    notes = []
    if context != asked:
        notes.append(f"The context was rounded up from {asked} to {context} tokens, a multiple of {PAGE}.")
    if trained and context > trained:
        notes.append(f"The context of {context} tokens is longer than the {trained} that the model was trained on.")
    return notes


def reserve(context: int) -> int:
    """Return how many tokens of a context are kept free for the answer."""
    return min(_RESERVE, context // 8)


def fits(tokens: int, context: int) -> bool:
    """Say whether a prompt of so many tokens leaves room for an answer."""
    return tokens <= context - reserve(context)


def overflow(tokens: int, context: int) -> ContextOverflow:
    """Return the error for a prompt that does not fit, the same words for every engine."""
    return ContextOverflow(
        "The conversation no longer fits into the context",
        f"It has {tokens:,} tokens; the context holds {context:,}, of which {reserve(context)} are for the answer.",
        "Go on without its beginning, choose a larger context, or start a new chat.",
    )


def fit(messages: Sequence[Message], context: int, count: Callable[[Sequence[Message]], TokenCount]) -> Fit:
    """Find the longest end of a conversation that fills at most half of the context, if the whole does not fit.

    Half, so that the next questions fit too and find their beginning in the engine's KV cache. Only the last question
    may fill more. An end begins with a user's message. `count` is called a few times: its cost grows with the text.
    """
    whole = count(messages)
    if fits(whole.count, context):
        return Fit(whole.count, context, 0, whole.count, whole.exact)
    system = [message for message in messages if message.role == "system"]
    starts = [place for place, message in enumerate(messages) if message.role == "user"]
    kept: tuple[int, int] | None = None
    low, high = 0, len(starts) - 1
    while low <= high:
        middle = (low + high) // 2
        tokens = count([*system, *(m for m in messages[starts[middle] :] if m.role != "system")]).count
        enough = fits(tokens, context) if middle == len(starts) - 1 else tokens <= context // 2
        if enough:
            kept = (starts[middle], tokens)
            high = middle - 1
        else:
            low = middle + 1
    first, tokens_kept = kept if kept is not None else (None, None)
    return Fit(whole.count, context, first, tokens_kept, whole.exact)
