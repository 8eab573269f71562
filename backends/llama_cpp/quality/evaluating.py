"""Running chunks of a text through a model, for the logits of the scored tokens. Only in a process of its own."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from backends.base import Cancel
from backends.errors import BackendError
from backends.events import LoadProgress
from backends.fitting import round_context
from backends.gguf.files import part_names
from backends.gguf.shape import Shape
from backends.hardware.memory import ram
from backends.llama_cpp import offload
from backends.llama_cpp.binding import GpuDevice, log
from backends.llama_cpp.context import create_context, setup_of, wanted_stream
from backends.llama_cpp.model import load_error, load_model, logged_out_of_memory, path_bytes
from backends.llama_cpp.options import LlamaCppOptions
from backends.llama_cpp.quality.logprobs import first_scored
from backends.llama_cpp.streaming import bus, opening
from backends.llama_cpp.streaming.stream import Stream
from backends.planning import learned
from backends.planning.memory import engine_layers

Report = Callable[[LoadProgress], None]

_STEP = 256
"""Tokens of each sequence that are run at a time."""
_SEQUENCES = {"memory": 1, "card": 2, "disk": 4}
"""Chunks that are run side by side. Each batch reads all weights: the slower they come, the more it should carry."""
_LOGITS_BYTES = 1 << 30
"""What the logits may take at most, in the engine's result and in its working memory."""


class Opened(msgspec.Struct, frozen=True):
    """A loaded model. `sequences` chunks of at most `context` tokens are run at a time.

    `stream` reads ahead of the engine where main memory does not hold the model.
    """

    lib: Any
    model: int
    handle: int
    context: int
    sequences: int
    vocabulary: int
    bos: int | None
    device: str
    stream: Stream | None = None


def look(lib: Any, path: Path, text: str) -> tuple[list[str], list[int]]:
    """Return the names of a model's tokens and those of a text. Reads no weights. Raises as a failed load does."""
    params = lib.llama_model_default_params()
    params.vocab_only = True
    log.clear()
    model = lib.llama_model_load_from_file(path_bytes(path), params)
    if model is None:
        raise load_error(path)
    try:
        vocabulary = lib.llama_model_get_vocab(model)
        names = [
            lib.llama_vocab_get_text(vocabulary, token).decode("utf-8", "backslashreplace")
            for token in range(lib.llama_vocab_n_tokens(vocabulary))
        ]
        return names, _tokens(lib, vocabulary, text)
    finally:
        lib.llama_model_free(model)


@contextmanager
def opened(lib: Any, path: Path, context: int, report: Report) -> Iterator[Opened]:
    """Load a model for chunks of `context` tokens: on the card what fits there, and never swapped.

    Raises what `load_model` and `create_context` raise.
    """
    mapped = [path.with_name(name) for name in part_names(path.name)]
    bus.watch(mapped)
    found = _open(lib, path, context, report)
    bus.watch(mapped)
    try:
        yield found
    finally:
        lib.llama_free(found.handle)
        if found.stream is not None:
            found.stream.close()
        lib.llama_model_free(found.model)


def logits_of(model: Opened, chunks: Sequence[Sequence[int]], context: int) -> Iterator[tuple[int, int, Any]]:
    """Yield for each chunk, in pieces and in order, its number, the first scored token of the piece and the logits.

    Those are the engine's own memory, good until the next piece: an array of float32 with a line for each token.
    """
    import numpy as np

    lib, first = model.lib, first_scored(context)
    batch = lib.llama_batch_init(model.sequences * _STEP, 0, 1)
    try:
        for group in range(0, len(chunks), model.sequences):
            mine = chunks[group : group + model.sequences]
            lib.llama_memory_clear(lib.llama_get_memory(model.handle), True)
            # Nothing is known to come after the last token: it is not run.
            for begin in range(0, context - 1, _STEP):
                end = min(begin + _STEP, context - 1)
                _fill(batch, mine, begin, end, first, model.bos)
                _decode(model, batch)
                outputs = end - max(begin, first)
                if outputs <= 0:
                    continue
                pointer = lib.llama_get_logits(model.handle)
                found = np.ctypeslib.as_array(pointer, shape=(len(mine) * outputs, model.vocabulary))
                for place in range(len(mine)):
                    piece = found[place * outputs : (place + 1) * outputs]
                    yield group + place, max(begin, first) - first, piece
    finally:
        lib.llama_batch_free(batch)


def _fill(batch: Any, chunks: Sequence[Sequence[int]], begin: int, end: int, first: int, bos: int | None) -> None:
    """Put the tokens from `begin` to `end` of each chunk into a batch, each chunk a sequence of its own."""
    count = 0
    for sequence, chunk in enumerate(chunks):
        for position in range(begin, end):
            batch.token[count] = bos if position == 0 and bos is not None else chunk[position]
            batch.pos[count] = position
            batch.n_seq_id[count] = 1
            batch.seq_id[count][0] = sequence
            batch.logits[count] = position >= first
            count += 1
    batch.n_tokens = count


def _decode(model: Opened, batch: Any) -> None:
    log.clear()
    result = model.lib.llama_decode(model.handle, batch)
    if result == 0:
        model.lib.llama_synchronize(model.handle)
        return
    cause, line = log.cause()
    if cause == "memory":
        raise logged_out_of_memory()
    raise BackendError("The engine failed while it computed", f"llama_decode returned {result}. {line}".strip())


def _open(lib: Any, path: Path, context: int, report: Report) -> Opened:
    card = offload.find_card()
    shape = offload.shape_of_file(path) or offload.shape_by_engine(lib, path)
    if card is None:
        return _on(lib, path, context, report, shape, None, 0)
    options = _options(context, _SEQUENCES["card"])
    margin = learned.margin_bytes(card.description, learned.overhead_bytes(card.description))
    logits = _SEQUENCES["card"] * _STEP * shape.vocabulary * 4
    planned = offload.plan(shape, setup_of(options), card.free_bytes, margin + logits)
    found, _ = offload.load_with_retreat(
        planned.blocks,
        lambda blocks: _on(lib, path, context, report, shape, card, blocks),
        lambda note: report(LoadProgress("offloading", None, note)),
    )
    return found


def _on(
    lib: Any, path: Path, context: int, report: Report, shape: Shape, card: GpuDevice | None, blocks: int
) -> Opened:
    layers = engine_layers(blocks)
    streaming = wanted_stream(path, shape, _options(context, 1), blocks, (), on_card=card is not None)
    wanted = _SEQUENCES["disk" if streaming is not None else "card" if card is not None else "memory"]
    # Twice: the engine's result, and the buffer in which it is computed.
    most = _LOGITS_BYTES // (2 * _STEP * 4 * max(1, shape.vocabulary))
    sequences = max(1, min(wanted, most))
    options = _options(context, sequences)
    model = load_model(lib, path, options, layers, report, Cancel(), card, repack=streaming is None)
    stream: Stream | None = None
    try:
        if streaming is not None:
            stream = opening.opened(lib, streaming, lambda: ram().available_bytes)
        follower = stream.callback if stream is not None else None
        rows = sequences * _STEP
        handle = create_context(lib, model, options, outputs=rows, sequences=sequences, follower=follower)
    except BaseException:
        if stream is not None:
            stream.close()
        lib.llama_model_free(model)
        raise
    vocabulary = lib.llama_model_get_vocab(model)
    bos = lib.llama_vocab_bos(vocabulary)
    adds = lib.llama_vocab_get_add_bos(vocabulary) and bos >= 0
    where = f"{card.description}, {blocks} of {shape.layers} layers" if card is not None else "CPU"
    if streaming is not None:
        where += ", from the disk"
    tokens = lib.llama_vocab_n_tokens(vocabulary)
    return Opened(lib, model, handle, context, sequences, tokens, bos if adds else None, where, stream)


def _options(context: int, sequences: int) -> LlamaCppOptions:
    batch = sequences * _STEP
    return LlamaCppOptions(context=sequences * round_context(context), batch=batch, ubatch=batch)


def _tokens(lib: Any, vocabulary: Any, text: str) -> list[int]:
    """Return a text's tokens as llama-perplexity has them: BOS before it where the model wants one, no other specials.

    An EOS that a model wants at the end does not belong to the text.
    """
    data = text.encode("utf-8", "replace")
    room = len(data) + 8
    while True:
        buffer = (ctypes.c_int32 * room)()
        count = lib.llama_tokenize(vocabulary, data, len(data), buffer, room, True, False)
        if count >= 0:
            break
        room = -count
    tokens = buffer[:count]
    ends = lib.llama_vocab_get_add_eos(vocabulary) and tokens[-1:] == [lib.llama_vocab_eos(vocabulary)]
    return tokens[:-1] if ends else tokens
