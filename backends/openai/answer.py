"""One answer: a server's events in, ours out; how it ended, how long it took, and what went wrong."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from backends.base import Cancel, ChatRequest, Partial
from backends.errors import BackendError, BadOptions, ServerError
from backends.events import ChatEvent, Done, DoneReason, PromptProgress, Timings, Usage
from backends.http.channels import Channels
from backends.http.client import stoppable
from backends.openai.asking import Asked, ask
from backends.openai.connection import Connection
from backends.openai.dialect import Chunk, Clock, Counts, Delta, chunks
from backends.openai.opening import Opened
from backends.stopwatch import Stopwatch, timings

_FULL = {"length", "max_tokens"}
_DISPENSABLE = {"stream_options", "timings_per_token", "seed"}
"""Fields that a strict server may not know: it is asked again without those that it names."""
_BROKEN = {"content_filter", "error", "abort", "insufficient_system_resource"}
"""Ends that are none: the last is DeepSeek's word for too much to do."""


class _Ending:
    """What is known of how an answer ended. `reason` is the server's word, "" as long as it gave none."""

    def __init__(self) -> None:
        self.reason = ""
        self.counts: Counts | None = None
        self.clock: Clock | None = None

    @property
    def by_token(self) -> bool:
        """Whether the model ended it, by a token that is no part of the answer."""
        return bool(self.reason) and self.reason not in _FULL

    def take(self, chunk: Chunk) -> None:
        self.counts = chunk.usage or self.counts
        self.clock = chunk.timings or self.clock
        for choice in chunk.choices[:1]:
            self.reason = choice.finish_reason or self.reason


def answer(
    connection: Connection,
    opened: Opened,
    request: ChatRequest,
    cancel: Cancel,
    note: str = "",
    room: int | None = None,
) -> Iterator[ChatEvent]:
    """Ask and tell what comes. Ends with one Done.

    `room` is how many tokens the context has left for the answer, where that is known: some servers refuse a question
    whose limit is larger.

    Raises BackendError; what was said until then has been yielded.
    """
    if note:
        yield PromptProgress(0, 0, note=note)
    channels, watch, ending = Channels(), Stopwatch(), _Ending()
    with stoppable(connection.shut, cancel):
        try:
            yield from _ask(connection, opened, request, cancel, channels, watch, ending, room)
        except BackendError:
            if not cancel.is_set():
                yield from channels.finish()
                raise
    if cancel.is_set() and not ending.reason:
        yield from channels.finish()
        usage = Usage(None, None, channels.reasoning_tokens, channels.tokens)
        yield Done("stopped", usage, _timings(watch, channels.tokens, None))
        return
    reason = _reason(ending.reason, request.sampling.max_tokens, channels, opened.loaded.context, ending.counts)
    told = _generated(ending)
    yield from channels.finish()
    yield from channels.finish(max(0, watch.earlier + told - channels.tokens) if told is not None else 0)
    yield Done(reason, _usage(ending, channels, watch.earlier), _timings(watch, channels.tokens, ending.clock))


def _ask(
    connection: Connection,
    opened: Opened,
    request: ChatRequest,
    cancel: Cancel,
    channels: Channels,
    watch: Stopwatch,
    ending: _Ending,
    room: int | None,
) -> Generator[ChatEvent, None, None]:
    """Ask until the answer has ended, or was stopped.

    When the thought is to be closed, the request is given up and another one goes on behind the closed thought.
    """
    partial, most = request.partial, request.sampling.max_tokens
    before = partial.reasoning if partial is not None else ""
    if most is not None and room is not None:
        most = min(most, room)
    while not cancel.is_set():
        left = None if most is None else most - watch.earlier
        if left is not None and left <= 0:
            ending.reason = "length"
            return
        asked = ask(connection, opened, request, partial, left)
        channels.begin(asked.state, asked.plain)
        try:
            hurried = yield from _read(connection, opened, asked, cancel, channels, watch, ending, before)
        except BadOptions as error:
            named = {name for name in _DISPENSABLE & asked.body.keys() if name in error.detail}
            if not named - connection.refused_fields:
                raise
            connection.refused_fields |= named
            continue
        if not hurried or cancel.is_set():
            return
        yield from channels.close_thought()
        partial = Partial(before + channels.reasoning, "", thinking=False)
        watch.again(channels.tokens)
        ending.reason, ending.counts, ending.clock = "", None, None


def _read(
    connection: Connection,
    opened: Opened,
    asked: Asked,
    cancel: Cancel,
    channels: Channels,
    watch: Stopwatch,
    ending: _Ending,
    before: str,
) -> Generator[ChatEvent, None, bool]:
    """Tell what one request brings; say whether it was given up because the thought is to be closed.

    `before` is what had been thought when the question was asked.
    """
    seen = 0
    closable = bool(opened.flavour.continuation)
    with connection.lines(asked.path, _leave_out(asked.body, connection), opened.model) as lines:
        for chunk in chunks(lines, connection.server):
            if cancel.is_set():
                return False
            ending.take(chunk)
            for choice in chunk.choices[:1]:
                piece = choice.delta or choice.message or Delta(choice.text)
                said, thought = piece.content or "", piece.thought
                if not said and not thought:
                    continue
                watch.piece()
                total = _so_far(chunk, ending)
                tokens = 1 if total is None else max(0, total - seen)
                seen = seen + 1 if total is None else max(seen, total)
                yield from channels.feed(said, thought, tokens)
            if not (closable and cancel.hurried and channels.thinking) or ending.reason:
                continue
            # Behind a thought without a word there is nothing to go on: a server that is asked again would begin anew.
            if (before + channels.reasoning).strip():
                return True
    if not ending.reason and not cancel.is_set():
        raise ServerError(
            "The answer ended without an end",
            f"{connection.server} closed the line before it said that it was done.",
            "What was said is kept; the server's log may say why.",
        )
    if ending.reason in _BROKEN:
        raise ServerError(
            f"{connection.server} broke the answer off",
            f"Its reason: {ending.reason}.",
            "What was said is kept. Ask in other words, or use another preset.",
        )
    return False


def _timings(watch: Stopwatch, tokens: int, clock: Clock | None) -> Timings:
    """Return the server's own figures where it gives them and they cover everything, else those measured here."""
    if clock is not None and clock.predicted_ms and clock.predicted_n and not watch.earlier:
        prefill_s = clock.prompt_ms / 1e3 if clock.prompt_ms is not None else None
        return timings(prefill_s, clock.predicted_ms / 1e3, clock.predicted_n)
    if watch.pieces == 1 and tokens > 1:
        return Timings()  # it came whole: nobody knows when the first token was there
    return watch.timings(tokens)


def _leave_out(body: dict[str, object], connection: Connection) -> dict[str, object]:
    """Return a body without what this server has refused before."""
    return {key: value for key, value in body.items() if key not in connection.refused_fields}


def _so_far(chunk: Chunk, ending: _Ending) -> int | None:
    """Return how many tokens were generated up to here, where the server counts along; without the one that ends it."""
    told = chunk.timings.predicted_n if chunk.timings is not None else None
    if not told and chunk.usage is not None:
        told = chunk.usage.completion_tokens
    return max(1, told - ending.by_token) if told else None


def _generated(ending: _Ending) -> int | None:
    """Return the tokens of the last request as the server counts them, without the one that ended it."""
    counts = ending.counts
    if counts is None or counts.completion_tokens is None:
        return None
    return max(0, counts.completion_tokens - ending.by_token)


def _usage(ending: _Ending, channels: Channels, earlier: int) -> Usage:
    """Return the counts. What a further request read again of this very answer is no part of the prompt."""
    counts = ending.counts
    if counts is None:
        return Usage(None, None, channels.reasoning_tokens, channels.tokens)
    prompt = counts.prompt_tokens or None
    cached = counts.cached if ending.clock is None or ending.clock.cache_n is None else ending.clock.cache_n
    if prompt is not None and earlier:
        prompt, cached = max(1, prompt - earlier), None
    details = counts.completion_tokens_details
    thought = channels.reasoning_tokens
    if details is not None and details.reasoning_tokens and not earlier:
        thought = min(details.reasoning_tokens, channels.tokens)
    return Usage(prompt, None if prompt is None or cached is None else min(cached, prompt), thought, channels.tokens)


def _reason(
    said: str, max_tokens: int | None, channels: Channels, context: int | None, counts: Counts | None
) -> DoneReason:
    """Return why it ended. Servers say "length" for a full context too."""
    if said not in _FULL:
        return "stop"
    tokens = counts.completion_tokens if counts is not None and counts.completion_tokens else channels.tokens
    if max_tokens is not None and max(tokens, channels.tokens) >= max_tokens:
        return "length"
    prompt = counts.prompt_tokens if counts is not None else None
    # Some servers end every answer after a number of tokens of their own.
    if context is not None and prompt is not None and prompt + tokens < context - 1:
        return "length"
    return "context"
