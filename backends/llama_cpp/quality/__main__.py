"""The process with the engine: `python -P -m backends.llama_cpp.quality`. Its request is on standard input.

It does one pass with one model and ends: so there is never more than one in memory, and what it leaks goes with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from backends.errors import BackendError, to_info
from backends.events import LoadProgress
from backends.llama_cpp import binding
from backends.llama_cpp.quality import evaluating, logprobs
from backends.llama_cpp.quality.messages import (
    Based,
    Compared,
    Failed,
    Loading,
    Looked,
    Ready,
    Request,
    Said,
)

Say = Callable[[Said], None]

_TOLD_EVERY_S = 0.25
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Do the pass that standard input asks for, and tell it on standard output."""
    _end_with_parent()
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever an engine prints must not stand between the lines

    def say(message: Said) -> None:
        line = msgspec.json.encode(message) + b"\n"
        while line:
            line = line[os.write(answer, line) :]

    try:
        request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
        _ACTIONS[request.action](request, say)
    except BrokenPipeError:
        os._exit(1)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the job tells it
        say(Failed(to_info(error)))
        os._exit(1)
    os._exit(0)


def _look(request: Request, say: Say) -> None:
    say(Looked(*evaluating.look(binding.library(), Path(request.model), request.text)))


def _base(request: Request, say: Say) -> None:
    at = request.rows_at
    with evaluating.opened(binding.library(), Path(request.model), request.context, _loading(say)) as model:
        say(Ready(model.device))
        size = logprobs.chunk_bytes(request.context, model.vocabulary)
        line = size // logprobs.scored(request.context)
        waiting: dict[int, logprobs.Chosen] = {}
        for chunk, place, logits in evaluating.logits_of(model, request.chunks, request.context):
            targets = _targets(request, chunk, place, len(logits))
            found = logprobs.chosen(logits, targets)
            _write(request.rows, logprobs.coded(logits), at + chunk * size + place * line)
            one = waiting.setdefault(chunk, logprobs.Chosen([], []))
            one.nll.extend(found.nll)
            one.top.extend(found.top)
            if len(one.nll) == logprobs.scored(request.context):
                say(Based(chunk, one.nll, one.top))
                del waiting[chunk]


def _compare(request: Request, say: Say) -> None:
    at = request.rows_at
    with evaluating.opened(binding.library(), Path(request.model), request.context, _loading(say)) as model:
        say(Ready(model.device))
        size = logprobs.chunk_bytes(request.context, model.vocabulary)
        line = size // logprobs.scored(request.context)
        waiting: dict[int, Compared] = {}
        for chunk, place, logits in evaluating.logits_of(model, request.chunks, request.context):
            targets = _targets(request, chunk, place, len(logits))
            mine = logprobs.chosen(logits, targets)
            rows = _read(request.rows, len(logits) * line, at + chunk * size + place * line)
            kld, base = logprobs.divergence(logits, rows, targets)
            one = waiting.setdefault(chunk, Compared(chunk, [], [], [], [], []))
            one.kld.extend(kld)
            one.nll.extend(mine.nll)
            one.top.extend(mine.top)
            one.base_nll.extend(base.nll)
            one.base_top.extend(base.top)
            if len(one.kld) == logprobs.scored(request.context):
                say(one)
                del waiting[chunk]


_ACTIONS = {"look": _look, "base": _base, "compare": _compare}


def _targets(request: Request, chunk: int, place: int, count: int) -> tuple[int, ...]:
    """Return the tokens that truly follow those that were run."""
    begin = logprobs.first_scored(request.context) + place + 1
    return request.chunks[chunk][begin : begin + count]


def _loading(say: Say) -> Callable[[LoadProgress], None]:
    told = 0.0

    def report(progress: LoadProgress) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= _TOLD_EVERY_S:
            told = now
            say(Loading(progress.fraction))

    return report


def _write(descriptor: int, data: bytes, at: int) -> None:
    try:
        while data:
            written = os.pwrite(descriptor, data, at)
            data, at = data[written:], at + written
    except OSError as error:
        raise BackendError(
            "The base's probabilities cannot be written",
            error.strerror or str(error),
            "Free some space, or let it take less at a time: --disk 0.5",
        ) from error


def _read(descriptor: int, size: int, at: int) -> bytes:
    try:
        data = os.pread(descriptor, size, at)
    except OSError as error:
        raise BackendError("The base's probabilities cannot be read", error.strerror or str(error)) from error
    if len(data) < size:
        raise BackendError("The base's probabilities cannot be read", "Their file is shorter than it was.")
    return data


def _end_with_parent() -> None:
    """Be killed when the job's process ends, however that ends (Linux only)."""
    parent = os.getppid()
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before that
            os._exit(1)


if __name__ == "__main__":
    main()
