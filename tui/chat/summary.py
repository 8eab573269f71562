"""A summary of the beginning of a conversation, written by the model itself, to stand for what is no longer sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from backends.base import ChatRequest, Message
from backends.errors import Problem, from_info
from backends.fitting import reserve
from backends.host.client import HostClient, HostEnded
from tui.chat import turn
from tui.chat.answer import Answer
from tui.chat.history import history
from tui.chat.overflow import Overflow
from tui.chat.storing.stored import StoredMessage, new_id
from tui.chat.target import Target

WORDS = 300
TOKENS_PER_WORD = 2  # German and code need more than English with its 1.3
LEAST_WORDS = 40
THOUGHT_TOKENS = 256
CUTS = 6
LAST_WORD_S = 0.5


class Summarising(msgspec.Struct, frozen=True):
    """A summary on its way: of how many messages, and how many tokens the model has generated for it."""

    messages: int
    tokens: int = 0


async def of(
    before: Sequence[StoredMessage],
    found: Overflow,
    target: Target,
    connect: turn.Connect,
    told: Callable[[Answer], None],
    spent: Callable[[Answer], Awaitable[None]],
) -> str:
    """Have the model write a summary of what an overflow leaves out of the branch `before`; nothing of it is kept.

    `told` sees the answer grow, `spent` once what it took, however it ended. Raises Problem, and Cancelled if loading
    was stopped.
    """
    client = await connect()
    await client.loaded()
    sent = history(before, system=target.system)
    first = next(place for place, sources in enumerate(sent.ids) if found.start in sources)
    context = found.fit.context
    free = context - reserve(context) - (found.fit.kept_tokens or 0)
    words = max(LEAST_WORDS, min(WORDS, free // (2 * TOKENS_PER_WORD)))
    tokens = min(THOUGHT_TOKENS + words * TOKENS_PER_WORD, context // 2)
    messages = await _trimmed(client, sent.messages[:first], tokens, words)
    return await _written(target, connect, messages, tokens, told, spent)


async def _trimmed(client: HostClient, old: Sequence[Message], room: int, words: int) -> tuple[Message, ...]:
    """Return the end of a conversation, and the wish for its summary, that leaves `room` tokens of the context free.

    Whole turns go first, then the beginning of the last one's longest message. Raises Problem if nothing is left.
    """
    wish = Message("user", _wish(words))
    starts = [place for place, message in enumerate(old) if message.role == "user"] or [0]
    low, high, found = 0, len(starts) - 1, None
    while low <= high:
        middle = (low + high) // 2
        part = (*_system(old), *(m for m in old[starts[middle] :] if m.role != "system"), wish)
        fit = await client.fit(part)
        if fit.tokens <= fit.context - room:
            found, high = part, middle - 1
        else:
            low = middle + 1
    if found is not None:
        return found
    last = [*_system(old), *(m for m in old[starts[-1] :] if m.role != "system")]
    for _ in range(CUTS):
        fit = await client.fit((*last, wish))
        most = fit.context - room
        if fit.tokens <= most:
            return (*last, wish)
        longest = max(range(len(last)), key=lambda place: len(last[place].text))
        text = last[longest].text
        # What is too much comes off the longest message; a tenth more, because tokens are not alike.
        cut = min(len(text), int(len(text) * (fit.tokens - most) / fit.tokens * 1.1) + 20)
        last[longest] = msgspec.structs.replace(last[longest], text=f"… {text[cut:]}")
    raise Problem(
        "The old part is too long even for a summary",
        "Not even the end of its last message leaves room for one.",
        "Go on without it, or choose a larger context.",
    )


async def _written(
    target: Target,
    connect: turn.Connect,
    messages: tuple[Message, ...],
    tokens: int,
    told: Callable[[Answer], None],
    spent: Callable[[Answer], Awaitable[None]],
) -> str:
    """Return the summary that `messages` wish for, in at most `tokens` tokens. Cancelled, it stops the engine.

    A long thought is asked to come to its end.
    """
    answer, answer_id = Answer(), new_id()
    sampling = msgspec.structs.replace(target.sampling, max_tokens=tokens, stop=())
    client: HostClient | None = None

    async def connected() -> HostClient:
        nonlocal client
        client = await connect()
        return client

    request = ChatRequest(messages, sampling, target.reasoning)
    hurried = False
    try:
        async for _ in turn.generate(answer_id, request, connected, None, answer):
            told(answer)
            if answer.thinking and not hurried and answer.reasoning_tokens >= THOUGHT_TOKENS and client is not None:
                hurried = True
                await client.answer_now(answer_id)
    finally:
        if not answer.finished and client is not None:
            await client.stop(answer_id)
            # What it took up to now comes with its last record.
            with contextlib.suppress(Problem, HostEnded, TimeoutError):
                async with asyncio.timeout(LAST_WORD_S):
                    async for record in client.attach(answer_id, answer.records):
                        answer.take(record)
        await spent(answer)
    if answer.failed is not None:
        raise from_info(answer.failed)
    text = answer.text.rpartition("</think>")[2].strip()
    if not text or (answer.done is not None and answer.done.reason == "stopped"):
        raise Problem(
            "The model wrote no summary",
            "It stopped before its first word." if not text else "It was stopped.",
            "Try again, go on without the old part, or choose a larger context.",
        )
    return text


def _wish(words: int) -> str:
    return (
        f"Write a summary of our conversation so far, in at most {words} words and in its language. It will stand for "
        "the conversation when we go on, so keep what matters for that: what I asked for, what was found and decided, "
        "names, figures, file names and code that are still needed, and what is still open. "
        "Write nothing but the summary."
    )


def _system(messages: Sequence[Message]) -> list[Message]:
    return [message for message in messages if message.role == "system"]
