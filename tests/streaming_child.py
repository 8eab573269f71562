"""A process of its own that loads a model, runs some tokens, and prints what that took: for a memory group to hold it.

`python -m tests.streaming_child MODEL TOKENS OPTIONS`: OPTIONS are those of llama.cpp as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import msgspec

from backends.hardware.process_io import Counts, counts


class Token(msgspec.Struct, frozen=True):
    """Seconds of one token, the bytes that the process read from a disk meanwhile, and its waits for one."""

    seconds: float
    read_bytes: int
    page_faults: int


class Run(msgspec.Struct, frozen=True):
    """What one process did. Bytes are the kernel's count of the whole process, `swapped_bytes` at its end.

    `disk_bytes_per_s` is what the disk gives a reader that has nothing else to do, measured before in the same group.
    """

    disk_bytes_per_s: int
    load_s: float
    load_read_bytes: int
    notes: tuple[str, ...]
    fractions: tuple[float, ...]
    held_bytes: int
    streamed_bytes: int
    followed: bool
    tokens: tuple[Token, ...]
    written_bytes: int
    swapped_bytes: int
    words: tuple[int, ...]


def main(model: str, count: str, options: str) -> None:
    from backends.base import Cancel
    from backends.events import LoadProgress
    from backends.hardware.read_speed import measure_read
    from backends.llama_cpp import LlamaCppBackend, LlamaCppOptions

    disk = measure_read(Path(model), seconds=1.0).bytes_per_s
    backend, reports = LlamaCppBackend(), list[LoadProgress]()
    before, began = counts(), time.monotonic()
    checked = msgspec.convert(json.loads(options), LlamaCppOptions)
    loaded = backend.load(model, checked, reports.append, Cancel())
    load_s, load_read = time.monotonic() - began, (counts().read_bytes or 0) - (before.read_bytes or 0)
    opened = backend._opened()
    stream, decoder = opened.stream, opened.decoder
    tokens, words, word = [], [], opened.vocabulary.first_token()
    lib = opened.lib
    size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(opened.handle))
    for _ in range(int(count)):
        earlier, started = counts(), time.monotonic()
        assert decoder.extend([word]) == 0
        decoder.synchronize()
        later = counts()
        tokens.append(_token(time.monotonic() - started, earlier, later))
        logits = lib.llama_get_logits_ith(decoder.context, -1)[:size]
        word = max(range(size), key=logits.__getitem__)
        words.append(word)
    after = counts()
    run = Run(
        disk_bytes_per_s=disk or 0,
        load_s=load_s,
        load_read_bytes=load_read,
        notes=loaded.notes,
        fractions=tuple(report.fraction for report in reports if report.fraction is not None),
        held_bytes=stream.now.held if stream is not None else 0,
        streamed_bytes=stream.now.streamed if stream is not None else opened.streamed_bytes,
        followed=stream is not None,
        tokens=tuple(tokens),
        written_bytes=(after.written_bytes or 0) - (before.written_bytes or 0),
        swapped_bytes=after.swapped_bytes or 0,
        words=tuple(words),
    )
    print(msgspec.json.encode(run).decode(), flush=True)
    backend.unload()


def _token(seconds: float, before: Counts, after: Counts) -> Token:
    read = (after.read_bytes or 0) - (before.read_bytes or 0)
    return Token(seconds, read, (after.page_faults or 0) - (before.page_faults or 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
