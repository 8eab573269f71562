"""How many threads are fastest here for this model: measured while nobody waits, and remembered."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from backends.base import Cancel
from backends.hardware.cpu_limits import usable_cores, usable_cpus
from backends.llama_cpp.decode import OK, Decoder
from backends.llama_cpp.loading import OpenModel
from backends.llama_cpp.thread_counts import ThreadCounts, remember_threads, remembered_threads, thread_counts
from backends.llama_cpp.threads import busy_seconds

BUDGET_S = 2.0
_DECODE_SHARE = 0.6
# More threads have to be worth it: they take time from everybody else.
_WORTH = 0.97
# A candidate this much slower than the best after a round is out; one that runs this much longer is cut off at once.
_HOPELESS, _CUT_OFF, _LEAST_LIMIT_S = 1.25, 3.0, 0.1
_ROUNDS = 12
# A call shorter than this is repeated in each turn: the first after a change of threads is slower.
_SHORT_S = 0.025
_REPEATED = 3
_PREFILL_TOKENS = (32, 16)
_BUSY_LOOK_S, _BUSY_CPUS = 0.25, 0.3

Sample = Callable[[int, float], list[float]]


class Tuned(msgspec.Struct, frozen=True):
    """The best numbers of threads, and the tokens per second that each candidate reached."""

    threads: ThreadCounts
    decode_speeds: dict[int, float]
    prefill_speeds: dict[int, float]


def tune_when_idle(model: OpenModel, cancel: Cancel, budget_s: float = BUDGET_S) -> bool:
    """Measure and set the threads, if that is left to the engine and not remembered; say whether it is done.

    False means that it may be called again: `cancel` was set, the context is nearly full, or others kept the CPUs busy.
    What was measured beside others is set and not remembered. Takes `budget_s` and a quarter of a second at most, ends
    0.1 s after `cancel`, and leaves the KV cache as it was.
    """
    options, decoder, lib = model.options, model.decoder, model.lib
    candidates = thread_candidates(usable_cores(), usable_cpus())
    whole_on_card = model.engine_layers > model.shape.layers and not model.held
    # With weights that stream the disk decides, and each trial would read them all.
    if options.threads != "auto" or len(candidates) < 2 or whole_on_card or model.streamed_bytes:
        return True
    # Such models cannot drop single tokens.
    if lib.llama_model_is_recurrent(model.handle) or lib.llama_model_is_hybrid(model.handle):
        return True
    if len(decoder.tokens) + max(_PREFILL_TOKENS) > decoder.capacity:
        return False
    busy = _others_busy(cancel)
    if cancel.is_set():
        return False
    known = remembered_threads(options, model.path, model.engine_layers)
    if known is not None and not busy:
        lib.llama_set_n_threads(decoder.context, known.decode, known.prefill)
        return True
    prefill_too = options.prefill_threads == "auto"
    tuned = tune(lib, decoder, model.vocabulary.first_token(), candidates, cancel, budget_s, prefill=prefill_too)
    if tuned is None:
        return not cancel.is_set()
    counts = thread_counts(options, tuned.threads)
    lib.llama_set_n_threads(decoder.context, counts.decode, counts.prefill)
    if not busy:
        remember_threads(options, model.path, model.engine_layers, tuned.threads)
    return not busy


def thread_candidates(cores: int, cpus: int) -> tuple[int, ...]:
    """Return the numbers worth trying, the likeliest first: all cores, one less, fractions of them, all CPUs, one."""
    counts = [cores, cores - 1, cores // 2, cores // 4, cpus if cpus > cores else 0, 1]
    return tuple(dict.fromkeys(count for count in counts if count > 0))


def tune(
    lib: Any,
    decoder: Decoder,
    token: int,
    candidates: Sequence[int],
    cancel: Cancel,
    budget_s: float = BUDGET_S,
    *,
    prefill: bool = True,
) -> Tuned | None:
    """Race the candidates with `token` behind what the KV cache holds; None if stopped or too little was measured.

    Sets no threads for good. Needs room for 32 tokens. Raises what `Decoder.extend` raises.
    """
    before = lib.llama_n_threads(decoder.context), lib.llama_n_threads_batch(decoder.context)
    ends = time.monotonic() + budget_s
    try:
        single = _sample(lib, decoder, [token], cancel)
        single(candidates[0], budget_s / 8)  # The first run after a while is slower.
        decoding = race(candidates, single, cancel, _DECODE_SHARE * budget_s)
        best = choose(decoding)
        batch = [token] * min(decoder.slice, _PREFILL_TOKENS[min(decoding.values(), default=0.0) > _SHORT_S])
        running: dict[int, float] = {}
        if prefill and best is not None:
            running = race(candidates, _sample(lib, decoder, batch, cancel), cancel, ends - time.monotonic())
        if best is None or cancel.is_set():
            return None
        # Where all cores are hopeless for one token, others use them, and a prompt is no better off with them.
        usual = candidates[0] if decoding.get(candidates[0], math.inf) <= _CUT_OFF * decoding[best] else best
        return Tuned(
            ThreadCounts(best, choose(running) or usual),
            {threads: 1 / seconds for threads, seconds in decoding.items()},
            {threads: len(batch) / seconds for threads, seconds in running.items()},
        )
    finally:
        lib.llama_set_n_threads(decoder.context, *before)


def race(candidates: Sequence[int], sample: Sample, cancel: Cancel, budget_s: float) -> dict[int, float]:
    """Measure the candidates in turn, so that what disturbs one disturbs all; return the median seconds of each.

    `sample` runs one turn of a candidate within a limit and returns the seconds of its calls, none if the first took
    longer: infinite seconds. The hopeless leave the race, and it ends with its budget, or when one is left.
    """
    ends = time.monotonic() + budget_s
    taken: dict[int, list[float]] = {}
    racing = list(candidates)
    for number in range(_ROUNDS):
        for threads in racing if number % 2 == 0 else racing[::-1]:
            left, best = ends - time.monotonic(), min(_medians(taken).values(), default=math.inf)
            # Who comes first must leave some time to the others.
            limit = left / 2 if math.isinf(best) else max(_LEAST_LIMIT_S, _CUT_OFF * best)
            if left <= 0 or cancel.is_set():
                return _medians(taken)
            seconds = sample(threads, min(left, limit))
            if seconds or (limit <= left and not cancel.is_set()):
                taken.setdefault(threads, []).extend(seconds or [math.inf])
        medians = _medians(taken)
        fastest = min(medians.values(), default=math.inf)
        racing = [threads for threads in racing if medians.get(threads, math.inf) <= _HOPELESS * fastest]
        if len(racing) < 2 or math.isinf(fastest):
            break
    return _medians(taken)


def choose(seconds: dict[int, float]) -> int | None:
    """Return the smallest number of threads that comes within 3 % of the best speed; None without a comparison."""
    fastest = min(seconds.values(), default=math.inf)
    if len(seconds) < 2 or math.isinf(fastest):
        return None
    return min(threads for threads, taken in seconds.items() if _WORTH * taken <= fastest)


def _sample(lib: Any, decoder: Decoder, tokens: list[int], cancel: Cancel) -> Sample:
    """Return a `Sample` that runs `tokens` behind the KV cache and drops them again."""
    length = len(decoder.tokens)

    def call() -> float | None:
        started = time.perf_counter()
        if decoder.extend(tokens) != OK:
            return None
        decoder.synchronize()
        elapsed = time.perf_counter() - started
        decoder.truncate(length)
        return elapsed

    def sample(threads: int, limit_s: float) -> list[float]:
        lib.llama_set_n_threads(decoder.context, threads, threads)
        with _limited(cancel, limit_s) as limit, decoder.stoppable(limit):
            first = call()
            if first is None or first > _SHORT_S:
                return [] if first is None else [first]
            more: list[float] = []
            while len(more) < _REPEATED and sum(more) < _REPEATED * _SHORT_S and (elapsed := call()) is not None:
                more.append(elapsed)
        return more or [first]

    return sample


@contextmanager
def _limited(cancel: Cancel, limit_s: float) -> Iterator[Cancel]:
    """Give a flag that is set with `cancel`, or after `limit_s`."""
    limit = Cancel()
    cancel.on_set(limit.set)
    timer = threading.Timer(limit_s, limit.set)
    timer.daemon = True
    timer.start()
    try:
        yield limit
    finally:
        timer.cancel()


def _others_busy(cancel: Cancel) -> bool:
    """Look for a moment, in which this process does nothing, whether others use the CPUs."""
    before, started = busy_seconds(), time.monotonic()
    cancel.wait(_BUSY_LOOK_S)
    after, elapsed = busy_seconds(), time.monotonic() - started
    return before is not None and after is not None and after - before > _BUSY_CPUS * elapsed


def _medians(taken: dict[int, list[float]]) -> dict[int, float]:
    return {threads: statistics.median(seconds) for threads, seconds in taken.items()}
