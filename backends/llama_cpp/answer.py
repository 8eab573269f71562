"""One answer: prefill, decode, and the events that come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from backends.base import Cancel, Sampling
from backends.errors import BackendError
from backends.events import ChatEvent, Done, DoneReason, Timings, Usage
from backends.fitting import fits, overflow
from backends.llama_cpp.decode import ABORTED, FULL, OK, Decoder
from backends.llama_cpp.prefill import prefill
from backends.llama_cpp.sampler import sampler_chain
from backends.llama_cpp.tokens import Vocabulary
from backends.reasoning import SplitState, closing
from backends.stopwatch import timings
from backends.transcriber import Transcriber

# How many of the last tokens are read to see how a thought ends: an opening tag and some newlines.
_TAIL = 16


def answer(
    lib: Any,
    decoder: Decoder,
    vocabulary: Vocabulary,
    prompt: list[int],
    sampling: Sampling,
    state: SplitState,
    cancel: Cancel,
    continued: bool = False,
    prepare: Callable[[], str] = lambda: "",
) -> Iterator[ChatEvent]:
    """Answer a tokenized prompt; `state` says where its text stands. Ends with one Done.

    A prompt must leave room for an answer; one that ends with an unfinished answer (`continued`) needs it for a token
    only. `prepare` is called before the prompt is run; what it returns is told to the user.
    Raises ContextOverflow if the prompt is too long, and BackendError for failures of the engine.
    """
    if len(prompt) >= decoder.capacity if continued else not fits(len(prompt), decoder.capacity):
        raise overflow(len(prompt), decoder.capacity)
    started = time.monotonic()
    note = prepare()
    with decoder.stoppable(cancel) as turn:
        result = yield from prefill(decoder, prompt, cancel, turn, note)
        cached = decoder.cached
        decoding = time.monotonic()
        if result != OK:
            yield Done(_reason(result), Usage(len(prompt), cached, 0, 0), Timings(prefill_s=decoding - started))
            return
        transcriber = Transcriber(state, sampling.stop)
        with sampler_chain(lib, vocabulary, sampling, prompt) as chain:
            try:
                decode = _decode(lib, decoder, vocabulary, chain, sampling.max_tokens, transcriber, cancel, turn)
                reason = yield from decode
            except BackendError:
                yield from transcriber.tell()
                raise
    # What the engine computed behind the last token, its end or the way for the next question, made none.
    ended = max(decoding, transcriber.fed_at)
    yield from transcriber.finish(complete=reason == "stop")
    yield Done(
        reason,
        Usage(len(prompt), cached, transcriber.reasoning_tokens, transcriber.tokens),
        timings(decoding - started, ended - decoding, transcriber.tokens),
    )


def _decode(
    lib: Any,
    decoder: Decoder,
    vocabulary: Vocabulary,
    chain: int,
    max_tokens: int | None,
    transcriber: Transcriber,
    cancel: Cancel,
    turn: int,
) -> Generator[ChatEvent, None, DoneReason]:
    """Generate tokens until something ends it, and return the reason."""
    sample, is_end, piece = lib.llama_sampler_sample, lib.llama_vocab_is_eog, vocabulary.piece
    context, handle = decoder.context, vocabulary.handle
    while max_tokens is None or transcriber.tokens < max_tokens:
        if cancel.is_set():
            return "stopped"
        if cancel.hurried and not transcriber.answering:
            yield from transcriber.tell()
        if cancel.hurried and transcriber.closable:
            result = _close_thought(lib, decoder, vocabulary, chain)
            if result != OK:
                return _reason(result)
            yield from transcriber.close_thought()
            decoder.check(turn)
        token = sample(chain, context, -1)
        if is_end(handle, token):
            return "stop"
        # A token without a place in the context is not told of: what goes on with the answer chooses it anew.
        if len(decoder.tokens) >= decoder.capacity:
            return "context"
        yield from transcriber.feed(piece(token))
        if transcriber.stopped:
            return "stop"
        decoder.check(turn)
        result = decoder.extend((token,))
        if result != OK:
            return _reason(result)
    return "length"


def _close_thought(lib: Any, decoder: Decoder, vocabulary: Vocabulary, chain: int) -> int:
    """Put the end of the open thought behind what was generated; return OK, FULL or ABORTED."""
    tail = b"".join(vocabulary.piece(token) for token in decoder.tokens[-_TAIL:])
    tokens = vocabulary.tokenize(closing(tail.decode("utf-8", "replace")))
    if len(decoder.tokens) + len(tokens) > decoder.capacity:
        return FULL
    for start in range(0, len(tokens), decoder.slice):
        result = decoder.extend(tokens[start : start + decoder.slice])
        if result != OK:
            return result
    for token in tokens:
        lib.llama_sampler_accept(chain, token)
    return OK


def _reason(result: int) -> DoneReason:
    """Return what ends an answer after `Decoder.extend` did not run its tokens."""
    return "stopped" if result == ABORTED else "context"
