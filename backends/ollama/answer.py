"""One answer: Ollama's lines in, events out; how it ended, how long it took, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import msgspec

from backends.base import Cancel, ChatRequest, Partial
from backends.errors import BackendError, ServerError
from backends.events import ChatEvent, Done, DoneReason, PromptProgress, Timings, Usage
from backends.http.channels import Channels
from backends.http.client import stoppable
from backends.ollama.asking import Asked, Asking
from backends.ollama.connection import Connection
from backends.ollama.dialect import Chunk, read_chunk
from backends.stopwatch import Stopwatch, timings

_REPEATS = 30
"""Ollama cuts an answer off, without a last line, when a piece came more often than this in a row."""
_NS = 1e9
_LOAD_SHOWN_S = 0.5


def answer(
    connection: Connection,
    asking: Asking,
    request: ChatRequest,
    cancel: Cancel,
    context: int,
    counted: Callable[[int], None],
    note: str = "",
    room: int | None = None,
) -> Iterator[ChatEvent]:
    """Ask and tell what comes; `counted` is told the prompt's true tokens, and may raise. Ends with one Done.

    `room` is how many tokens the context has left for the answer, where the server does not end it there by itself.

    Raises BackendError; what was said until then has been yielded.
    """
    if note:
        yield PromptProgress(0, 0, note=note)
    channels, watch = Channels(), Stopwatch()
    final: Chunk | None = None
    with stoppable(connection.shut, cancel):
        try:
            final = yield from _ask(connection, asking, request, cancel, channels, watch, room)
        except BackendError:
            if not cancel.is_set():
                yield from channels.finish()
                raise
    if final is None:
        yield from channels.finish()
        usage = Usage(None, None, channels.reasoning_tokens, channels.tokens)
        yield Done("stopped", usage, watch.timings(channels.tokens))
        return
    if request.partial is None and not watch.earlier and final.prompt_eval_count:
        yield from _checked(counted, final.prompt_eval_count, channels)
    yield from _rest(final, channels, watch.earlier)
    reason = _reason(final, request.sampling.max_tokens, channels.tokens, context)
    yield Done(reason, _usage(final, channels, watch.earlier), _timings(final, watch.earlier_s))


def _checked(counted: Callable[[int], None], tokens: int, channels: Channels) -> Iterator[ChatEvent]:
    try:
        counted(tokens)
    except BackendError:
        yield from channels.finish()
        raise


def _ask(
    connection: Connection,
    asking: Asking,
    request: ChatRequest,
    cancel: Cancel,
    channels: Channels,
    watch: Stopwatch,
    room: int | None,
) -> Generator[ChatEvent, None, Chunk | None]:
    """Ask until there is a last line, and return it; None if the answer was stopped.

    When the thought is to be closed, the request is given up and another one goes on behind the closed thought.
    """
    partial = request.partial
    before = partial.reasoning if partial is not None else ""
    limits = [limit for limit in (request.sampling.max_tokens, room) if limit is not None]
    while not cancel.is_set():
        most = min(limits) - channels.tokens if limits else None
        if most is not None and most <= 0:  # which Ollama would take for no limit
            return Chunk(done=True, done_reason="length", eval_count=0)
        asked = asking.ask(request, partial, most)
        channels.begin(asked.state, plain=request.reasoning == "none")
        final = yield from _read(connection, asking, asked, cancel, channels, watch, before)
        if final is not None or cancel.is_set():
            return final
        yield from channels.close_thought()
        partial = Partial(before + channels.reasoning, "", thinking=False)
        watch.again(channels.tokens)
    return None


def _read(
    connection: Connection,
    asking: Asking,
    asked: Asked,
    cancel: Cancel,
    channels: Channels,
    watch: Stopwatch,
    before: str,
) -> Generator[ChatEvent, None, Chunk | None]:
    """Tell what one request brings, and return its last line: None if it was left for the user's wish.

    `before` is what had been thought when the question was asked.
    """
    last, repeats = "", 0
    with connection.lines(asked.path, asked.body, asking.model) as lines:
        for line in lines:
            if cancel.is_set():
                return None
            if not line.strip():
                continue
            chunk = read_chunk(line, connection.server)
            if chunk.error is not None:
                raise connection.refused(chunk.status or 500, line, asking.model)
            said, thought = chunk.said, chunk.thought
            if said or thought:
                watch.piece()
                yield from channels.feed(said, thought)
            if chunk.done:
                return chunk
            piece = (said or thought).strip()
            repeats = repeats + 1 if piece == last else 0
            last = piece
            # Behind an empty thought there is nothing to go on from: the same question would be asked again and again.
            if cancel.hurried and asking.can_continue and channels.thinking and (before or channels.reasoning):
                return None
    raise _endless(connection.server, last, repeats)


def _rest(final: Chunk, channels: Channels, earlier: int) -> Iterator[ChatEvent]:
    """Tell of what is held back, and of tokens that no line stood for: half characters, tags that the server took.

    Ollama counts the token that ends an answer; it is no part of it.
    """
    ending = 1 if final.done_reason == "stop" else 0
    yield from channels.finish()
    yield from channels.finish(max(0, earlier + (final.eval_count or 0) - ending - channels.tokens))


def _usage(final: Chunk, channels: Channels, earlier: int) -> Usage:
    """Return the counts. What a further request read again of this very answer is not part of the prompt.

    Cached tokens are unknown: the server counts them as read.
    """
    prompt = final.prompt_eval_count or None
    told = final.eval_count is not None
    return Usage(
        prompt_tokens=None if prompt is None else max(0, prompt - earlier),
        reasoning_tokens=channels.reasoning_tokens if told else None,
        output_tokens=channels.tokens if told else None,
    )


def _reason(final: Chunk, max_tokens: int | None, tokens: int, context: int) -> DoneReason:
    """Return why it ended. Ollama says "length" for a full context too, and nothing where it dropped what was old."""
    if (final.prompt_eval_count or 0) + (final.eval_count or 0) > context:
        return "context"
    if final.done_reason != "length":
        return "stop"
    return "length" if max_tokens is not None and tokens >= max_tokens else "context"


def _endless(server: str, last: str, repeats: int) -> ServerError:
    if repeats >= _REPEATS:
        return ServerError(
            "Ollama cut off a repetition",
            f"The same piece came {repeats + 1} times in a row: {msgspec.json.encode(last[:40]).decode()}.",
            "Ask again, perhaps with a higher temperature or a repeat penalty.",
        )
    return ServerError(
        "The answer ended without an end",
        f"{server} closed the line before it said that it was done.",
        "Continue the answer; the server's log may say why.",
    )


def _timings(final: Chunk, earlier_s: float) -> Timings:
    """Return the server's own figures. Its decode time begins with the first token."""
    load, prefill, decode = (
        _seconds(ns) for ns in (final.load_duration, final.prompt_eval_duration, final.eval_duration)
    )
    told = timings(prefill, decode, final.eval_count or 0, load if load and load >= _LOAD_SHOWN_S else None)
    return told if decode is None else msgspec.structs.replace(told, decode_s=decode + earlier_s)


def _seconds(nanoseconds: int | None) -> float | None:
    """Return seconds; None for what the server did not measure, which it tells as 0."""
    return nanoseconds / _NS if nanoseconds is not None and nanoseconds > 0 else None
