"""A process of its own that loads a model, runs some tokens, and prints what that took: for a memory group to hold it.

`python -m tests.streaming_child MODEL TOKENS OPTIONS`: OPTIONS are those of llama.cpp as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import msgspec


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
    before, began = _counts(), time.monotonic()
    checked = msgspec.convert(json.loads(options), LlamaCppOptions)
    loaded = backend.load(model, checked, reports.append, Cancel())
    load_s, load_read = time.monotonic() - began, _counts()[0] - before[0]
    opened = backend._opened()
    stream, decoder = opened.stream, opened.decoder
    tokens, words, word = [], [], opened.vocabulary.first_token()
    lib = opened.lib
    size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(opened.handle))
    for _ in range(int(count)):
        earlier, started = _counts(), time.monotonic()
        assert decoder.extend([word]) == 0
        decoder.synchronize()
        later = _counts()
        tokens.append(Token(time.monotonic() - started, later[0] - earlier[0], later[2] - earlier[2]))
        logits = lib.llama_get_logits_ith(decoder.context, -1)[:size]
        word = max(range(size), key=logits.__getitem__)
        words.append(word)
    after = _counts()
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
        written_bytes=after[1] - before[1],
        swapped_bytes=_swapped(),
        words=tuple(words),
    )
    print(msgspec.json.encode(run).decode(), flush=True)
    backend.unload()


def _counts() -> tuple[int, int, int]:
    io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    faults = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[9])
    return int(io["read_bytes"]), int(io["write_bytes"]), faults


def _swapped() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmSwap:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main(*sys.argv[1:])
