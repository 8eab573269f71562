"""From a file to a model that is ready for requests: weights, context, vocabulary, template, a trial run."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from backends import remembered
from backends.base import Cancel, Cancelled
from backends.chat_template import choose_template
from backends.errors import BadModelFile
from backends.events import LoadProgress
from backends.fitting import round_context
from backends.llama_cpp import offload, thread_counts
from backends.llama_cpp.binding import BLIND, GPU_BUILD_HINT, GpuDevice, blind, version
from backends.llama_cpp.context import check_host_memory, create_context
from backends.llama_cpp.decode import OK, Decoder
from backends.llama_cpp.model import load_model, own_template
from backends.llama_cpp.options import LlamaCppOptions
from backends.llama_cpp.tokens import Vocabulary

if TYPE_CHECKING:
    from backends.template import ChatTemplate

Report = Callable[[LoadProgress], None]


class OpenModel(msgspec.Struct, frozen=True):
    """A model ready for requests. `engine_layers` counts as the engine does: the output layer, then blocks."""

    lib: Any
    path: Path
    options: LlamaCppOptions
    handle: int
    decoder: Decoder
    vocabulary: Vocabulary
    template: ChatTemplate
    shape: offload.ModelShape
    trained_context: int
    engine_layers: int

    def free(self) -> None:
        self.decoder.close()
        self.lib.llama_model_free(self.handle)


def open_on(
    lib: Any,
    gpu: GpuDevice | None,
    path: Path,
    options: LlamaCppOptions,
    report: Report,
    cancel: Cancel,
    notes: list[str],
) -> OpenModel:
    """Open the file with as many layers on `gpu` as the options say or, with "auto", as fit.

    Where they do not fit after all it takes fewer, and begins with as many the next time. Adds to `notes`.
    """
    asked = options.gpu_layers
    if gpu is None:
        if asked not in ("auto", 0):
            notes.append("gpu_layers has no effect: this build of llama.cpp finds no GPU.")
        if asked != 0 and blind():
            notes.append(f"{BLIND} {GPU_BUILD_HINT}")
        return open_model(lib, path, options, 0, report, cancel)
    if asked in (0, 1):  # 1 is the output layer alone
        return open_model(lib, path, options, asked, report, cancel)

    def attempt(blocks: int) -> OpenModel:
        return open_model(lib, path, options, offload.engine_layers(blocks), report, cancel)

    def retreat(note: str) -> None:
        notes.append(note)
        report(LoadProgress("offloading", None, note))

    shape = offload.read_shape(lib, path)
    context = round_context(options.context)
    if asked == "auto":
        wanted = offload.blocks_that_fit(shape, gpu.free_bytes, context, options.kv_cache, options.ubatch)
    else:
        wanted = shape.layers if asked < 0 else min(asked - 1, shape.layers)
    facts = (asked, context, options.kv_cache, options.ubatch, gpu.description, gpu.total_bytes)
    key = remembered.key_of_model(path, version(), *facts)
    excess = min(wanted, offload.remembered_excess(key))
    if excess:
        notes.append(f"{excess} layers fewer than planned go to the GPU: more did not fit before.")
    opened, blocks = offload.load_with_retreat(wanted - excess, attempt, retreat)
    if blocks < wanted - excess:
        notes.append(f"It runs with {blocks} of {shape.layers} layers on the GPU.")
        offload.remember_excess(key, wanted - blocks)
    return opened


def open_model(
    lib: Any, path: Path, options: LlamaCppOptions, engine_layers: int, report: Report, cancel: Cancel
) -> OpenModel:
    """Open the file with this many of the engine's layers on the GPU; negative means all.

    Raises what `load_model` and `create_context` raise, and has then freed everything.
    """
    handle = load_model(lib, path, options, engine_layers, report, cancel)
    _return_free_memory()
    decoder: Decoder | None = None
    try:
        shape = offload.shape_of(lib, handle)
        if not lib.llama_model_has_decoder(handle) or lib.llama_model_has_encoder(handle):
            hint = "Choose a model that generates text."
            raise BadModelFile("This model cannot chat", f"{path} holds an encoder.", hint)
        layers = shape.layers + 1 if engine_layers < 0 else min(engine_layers, shape.layers + 1)
        vocabulary = Vocabulary(lib, handle)
        template = choose_template(own_template(lib, handle), vocabulary)
        report(LoadProgress("warming"))
        check_host_memory(shape, options, shape.layers - max(0, layers - 1))
        threads = thread_counts.remembered_threads(options, path, layers) or thread_counts.default_threads(options)
        decoder = Decoder(lib, create_context(lib, handle, options, threads), on_gpu=layers > 0)
        warm_up(decoder, vocabulary, cancel)
        trained = lib.llama_model_n_ctx_train(handle)
        return OpenModel(lib, path, options, handle, decoder, vocabulary, template, shape, trained, layers)
    except BaseException:
        if decoder is not None:
            decoder.close()
        lib.llama_model_free(handle)
        raise


def warm_up(decoder: Decoder, vocabulary: Vocabulary, cancel: Cancel) -> None:
    """Run one token: a mapped file is read, buffers are touched, and what does not fit fails now. May be cancelled."""
    with decoder.stoppable(cancel):
        if cancel.is_set() or decoder.extend([vocabulary.first_token()]) != OK:
            raise Cancelled
        decoder.synchronize()
        decoder.forget()


def _return_free_memory() -> None:
    """Give back what only loading needed (5 MiB for a vocabulary of 152k) before the context takes its own."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # Only glibc has it.
    if trim is not None:
        trim(0)
