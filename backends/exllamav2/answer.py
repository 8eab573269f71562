"""One answer: a job of the dynamic generator, and the events that come of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

from backends.base import Cancel, Sampling
from backends.errors import BackendError
from backends.events import ChatEvent, Done, DoneReason, PromptProgress, Timings, Usage
from backends.exllamav2.failures import answer_failure
from backends.exllamav2.loading import OpenModel
from backends.exllamav2.sampling import settings
from backends.fitting import fits, overflow
from backends.reasoning import SplitState, closing
from backends.stopwatch import Stopwatch, timings
from backends.transcriber import Transcriber

# How much of the text before a place is read to see how a thought ends: an opening tag and some newlines.
_TAIL = 64
_HALF = "\ufffd"


class _Watch(NamedTuple):
    """What is measured of an answer: the engine's own times of each job, and those seen from here."""

    seen: Stopwatch
    jobs: list[tuple[float, float] | None]

    def end(self, result: dict[str, Any]) -> None:
        """Take a job's last result: the seconds to the end of the prompt, and from there to the last token."""
        self.jobs[-1] = (result["time_prefill"], result["time_generate"])

    def timings(self, tokens: int) -> Timings:
        """Return the engine's own times where one job made the whole answer, else those seen from here."""
        told = self.jobs[0] if len(self.jobs) == 1 else None
        return timings(*told, tokens) if told is not None else self.seen.timings(tokens)


class _Run:
    """What an answer has come to: its tokens so far behind the prompt's, and the end of its text."""

    def __init__(self, prompt: list[int], text: str, limit: int) -> None:
        self.tokens = list(prompt)
        self.tail = text[-_TAIL:]
        self.limit = limit
        self.cached: int | None = None
        self.prompt = len(prompt)

    def add(self, tokens: list[int], text: str) -> None:
        self.tokens += tokens
        self.tail = (self.tail + text)[-_TAIL:]


def answer(
    model: OpenModel,
    prompt: list[int],
    text: str,
    sampling: Sampling,
    state: SplitState,
    cancel: Cancel,
    check: Callable[[], None],
    continued: bool = False,
) -> Iterator[ChatEvent]:
    """Answer a tokenized prompt, whose text is `text`; `state` says where the answer's text stands. Ends with one Done.

    A prompt must leave room for an answer; one that ends with an unfinished answer (`continued`) needs it for a token
    only. `check` raises BackendError when another request has begun meanwhile.
    Raises ContextOverflow if the prompt is too long, and BackendError for failures of the engine.
    """
    if len(prompt) >= model.context if continued else not fits(len(prompt), model.context):
        raise overflow(len(prompt), model.context)
    model.generator.clear_queue()  # what an answer that nobody read to its end has left
    room = model.context - len(prompt)
    run = _Run(prompt, text, room if sampling.max_tokens is None else min(room, sampling.max_tokens))
    transcriber, watch = Transcriber(state, sampling.stop), _Watch(Stopwatch(), [])
    reason: DoneReason | None = None
    try:
        while reason is None and not cancel.is_set():
            reason = yield from _job(model, run, sampling, transcriber, watch, cancel, check)
            if reason is None and not cancel.is_set():
                yield from _close_thought(model, run, transcriber)
                if transcriber.tokens >= run.limit or len(run.tokens) >= model.context:
                    reason = "length"
    except BackendError:
        yield from transcriber.tell()
        raise
    if reason is None:
        reason = "stopped"
    elif reason == "length" and (sampling.max_tokens is None or transcriber.tokens < sampling.max_tokens):
        reason = "context"
    yield from transcriber.finish(complete=reason == "stop")
    usage = Usage(run.prompt, run.cached, transcriber.reasoning_tokens, transcriber.tokens)
    yield Done(reason, usage, watch.timings(transcriber.tokens))


def _job(
    model: OpenModel,
    run: _Run,
    sampling: Sampling,
    transcriber: Transcriber,
    watch: _Watch,
    cancel: Cancel,
    check: Callable[[], None],
) -> Generator[ChatEvent, None, DoneReason | None]:
    """Run one job to its end and return the reason; None if it was stopped, or given up to close the thought."""
    first = not watch.jobs
    watch.jobs.append(None)
    job = _enqueue(model, run, sampling, transcriber.tokens)
    generator, done = model.generator, 0
    try:
        if first:
            yield PromptProgress(0, run.prompt)
        while generator.num_remaining_jobs():
            check()
            if cancel.is_set():
                # It holds text back from a character that may be half on, which may also be a mere U+FFFD.
                yield from transcriber.add(job.held_text.rstrip(_HALF))
                return None
            for result in _iterate(generator):
                if result["stage"] == "prefill" and first:
                    # Its own total leaves the last token of the prompt to the first step of decode.
                    done = max(done, min(result["curr_progress"], run.prompt - 1))
                    yield PromptProgress(done, run.prompt, min(done, _cached(generator, job)))
                elif result["stage"] == "streaming":
                    if first and done < run.prompt:
                        done, run.cached = run.prompt, min(run.prompt, _cached(generator, job))
                        yield PromptProgress(done, run.prompt, run.cached)
                    reason = yield from _streamed(result, run, transcriber, watch)
                    if reason is not None:
                        return reason
            if cancel.hurried and not transcriber.answering:
                yield from transcriber.tell()
                if transcriber.closable and not job.held_text:
                    return None
        raise BackendError("ExLlamaV2 lost the answer", "Its job was gone before it had ended.", "Ask again.")
    finally:
        with contextlib.suppress(Exception):  # after a failure of the card even this may fail
            generator.cancel(job)


def _streamed(
    result: dict[str, Any], run: _Run, transcriber: Transcriber, watch: _Watch
) -> Generator[ChatEvent, None, DoneReason | None]:
    """Tell of one token, and return why it was the last one, None if it was not."""
    watch.seen.piece()
    text = result.get("text", "")
    reason: DoneReason | None = None
    if result["eos"]:
        watch.end(result)
        reason = "length" if result["eos_reason"] == "max_new_tokens" else "stop"
    if result.get("eos_reason") == "stop_token":
        # The token that ends an answer is no part of it; what was held back before it is.
        held = result.get("held", {}).get("text", "")
        yield from transcriber.add(held.removesuffix(result.get("eos_triggering_token_str", "")))
        return reason
    ids = result.get("token_ids")
    run.add(ids[0].tolist() if ids is not None else [], text)
    yield from transcriber.feed(text.encode(errors="replace"))
    return "stop" if transcriber.stopped else reason


def _close_thought(model: OpenModel, run: _Run, transcriber: Transcriber) -> Iterator[ChatEvent]:
    """Put the end of the open thought behind what was generated."""
    end = closing(run.tail)
    run.add(model.vocabulary.tokenize(end), end)
    yield from transcriber.close_thought()


def _enqueue(model: OpenModel, run: _Run, sampling: Sampling, said: int) -> Any:
    """Begin a job behind the tokens so far. Raises BackendError."""
    libs = model.libraries
    room = min(run.limit - said, model.context - len(run.tokens))
    try:
        job = libs.generator.ExLlamaV2DynamicJob(
            input_ids=libs.torch.tensor([run.tokens], dtype=libs.torch.long),
            max_new_tokens=room,
            gen_settings=settings(libs.generator, sampling),
            seed=None if sampling.seed is None else sampling.seed + said,
            stop_conditions=list(model.ends),
            decode_special_tokens=model.vocabulary.hides_thoughts,
        )
        model.generator.enqueue(job)
    except Exception as error:
        raise answer_failure(error) from error
    return job


def _iterate(generator: Any) -> list[dict[str, Any]]:
    """Have the engine do one step: a slice of the prompt, or a token. Raises BackendError."""
    try:
        results: list[dict[str, Any]] = generator.iterate()
    except Exception as error:
        raise answer_failure(error) from error
    return results


def _cached(generator: Any, job: Any) -> int:
    """Return how many tokens of a job's prompt needed no work."""
    return int(job.cached_pages * generator.page_size + job.cached_tokens)
