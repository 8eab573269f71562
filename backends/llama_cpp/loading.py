"""From a file to a model that is ready for requests: weights, context, vocabulary, template, a trial run."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from backends.base import Cancel, Cancelled
from backends.chat_template import choose_template
from backends.errors import BadModelFile, OutOfMemory
from backends.events import LoadProgress
from backends.gguf.shape import Shape
from backends.hardware.memory import ram
from backends.llama_cpp import dry_run, offload, thread_counts
from backends.llama_cpp.binding import BLIND, GPU_BUILD_HINT, GpuDevice, blind, cpu_buffers, memory_now
from backends.llama_cpp.context import check_host_memory, create_context, setup_of, wanted_stream
from backends.llama_cpp.decode import OK, Decoder
from backends.llama_cpp.model import NONE_HELD, Held, HostOutOfMemory, load_model, own_template
from backends.llama_cpp.options import LlamaCppOptions
from backends.llama_cpp.streaming import opening
from backends.llama_cpp.streaming.progress import part_loaded, rising, telling
from backends.llama_cpp.streaming.stream import Stream
from backends.llama_cpp.tokens import Vocabulary
from backends.planning import learned
from backends.planning.memory import engine_layers

if TYPE_CHECKING:
    from backends.template import ChatTemplate

Report = Callable[[LoadProgress], None]


class OpenModel(msgspec.Struct, frozen=True):
    """A model ready for requests. `engine_layers` counts as the engine does: the output layer, then blocks.

    `gpu` is the card that takes part, if only in long prompts; of the lowest block there the matrices `held` are in
    main memory. `streamed_bytes` are the weights that each token reads from the disk; `stream` follows the engine
    through them, None where nothing is streamed or the kernel is left to it.
    """

    lib: Any
    path: Path
    options: LlamaCppOptions
    handle: int
    decoder: Decoder
    vocabulary: Vocabulary
    template: ChatTemplate
    shape: Shape
    trained_context: int
    engine_layers: int
    gpu: GpuDevice | None = None
    held: tuple[str, ...] = ()
    streamed_bytes: int = 0
    stream: Stream | None = None

    def free(self) -> None:
        self.decoder.close()
        if self.stream is not None:
            self.stream.close()
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
    """Open the file with as many layers on `gpu` as the options say or, with "auto", as the plan says for what is free.

    Where they do not fit after all it takes fewer, and leaves more of the card free the next time. Adds to `notes`.
    """
    asked, shape = options.gpu_layers, offload.shape_of_file(path)
    if gpu is None:
        if asked not in ("auto", 0):
            notes.append("gpu_layers has no effect: this build of llama.cpp finds no GPU.")
        if asked != 0 and blind():
            notes.append(f"{BLIND} {GPU_BUILD_HINT}")
        opened = open_model(lib, path, options, 0, report, cancel, shape=shape, notes=notes)
    else:
        try:
            if asked in (0, 1):  # 1 is the output layer alone
                opened = open_model(lib, path, options, int(asked), report, cancel, gpu=gpu, shape=shape, notes=notes)
            else:
                opened = _open_on_card(lib, gpu, path, options, report, cancel, notes, shape)
        except HostOutOfMemory:
            raise
        except OutOfMemory:
            # Without any layer the engine still wants room for long prompts there.
            notes.append("The card is too full even for the buffers of long prompts: it takes no part.")
            report(LoadProgress("offloading", None, notes[-1]))
            opened = open_model(lib, path, options, 0, report, cancel, shape=shape, notes=notes)
    return opened


def _open_on_card(
    lib: Any,
    gpu: GpuDevice,
    path: Path,
    options: LlamaCppOptions,
    report: Report,
    cancel: Cancel,
    notes: list[str],
    shape: Shape | None,
) -> OpenModel:
    if shape is None:
        shape = offload.shape_by_engine(lib, path)
        notes.append("The table of weights in this file cannot be read here: what its layers take is estimated.")
    known, setup, asked = shape, setup_of(options), options.gpu_layers

    def count(blocks: int, held: tuple[str, ...]) -> int | None:
        if cancel.is_set():
            return None
        return dry_run.card_bytes(lib, path, options, gpu, known, setup, blocks, held)

    # The engine's context is on the card by now: of the margin that had to hold it, the rest is left.
    margin = learned.margin_bytes(gpu.description, learned.overhead_bytes(gpu.description))
    # Who asks for a number gets it, if it can be had at all; the plan is for when it cannot.
    planned = (
        offload.plan(shape, setup, gpu.free_bytes, margin, count, parts=cpu_buffers() is not None)
        if asked == "auto"
        else offload.plan(shape, setup, gpu.free_bytes, margin)
    )
    part = planned.held
    wanted = planned.blocks if asked == "auto" else shape.layers if asked < 0 else min(asked - 1, shape.layers)

    def attempt(blocks: int) -> OpenModel:
        held = part if blocks == wanted else ()
        layers = engine_layers(blocks + bool(held))
        return open_model(lib, path, options, layers, report, cancel, gpu=gpu, shape=known, held=held, notes=notes)

    def retreat(note: str) -> None:
        notes.append(note)
        report(LoadProgress("offloading", None, note))

    def most_now() -> int:
        nonlocal planned
        planned = planned.with_free(memory_now(gpu).free_bytes)
        return planned.blocks

    report(LoadProgress("offloading", None, planned.sentence(wanted)))
    opened, blocks = offload.load_with_retreat(wanted, attempt, retreat, most_now)
    if blocks < wanted:
        notes.append(f"It runs with {blocks} of {shape.layers} layers on the GPU.")
    offload.learn(gpu.description, planned, wanted, blocks)
    return opened


def open_model(
    lib: Any,
    path: Path,
    options: LlamaCppOptions,
    engine_layers: int,
    report: Report,
    cancel: Cancel,
    *,
    gpu: GpuDevice | None = None,
    shape: Shape | None = None,
    held: tuple[str, ...] = (),
    notes: list[str] | None = None,
) -> OpenModel:
    """Open the file with this many of the engine's layers on `gpu`; negative means all. Without a card none is touched.

    `shape` None is asked of the engine; only with one can matrices of the lowest block there be `held` back, and is it
    known whether main memory holds the rest. Adds to `notes`. Raises what `load_model` and `create_context` raise, and
    has then freed everything.
    """
    streaming, back = None, NONE_HELD
    if shape is not None:
        blocks = shape.layers if engine_layers < 0 else max(0, engine_layers - 1)
        streaming = wanted_stream(path, shape, options, blocks - bool(held), held, on_card=engine_layers != 0)
        back = Held(shape.layers - blocks, held) if held else NONE_HELD
    # What memory does not hold must stay a part of the file: copies would be swapped, which writes to the disk.
    kept = msgspec.structs.replace(options, mlock=options.mlock and not streaming)
    report = rising(report)
    with contextlib.ExitStack() as stack:
        if streaming is not None and shape is not None:
            # The engine reads the whole file in one call to the kernel.
            part = part_loaded(shape.file_bytes or shape.weight_bytes)
            stack.enter_context(telling(report, "offloading" if engine_layers else "reading", part))
        handle = load_model(lib, path, kept, engine_layers, report, cancel, gpu, repack=not streaming, held=back)
    _return_free_memory()
    decoder: Decoder | None = None
    stream: Stream | None = None
    try:
        if not lib.llama_model_has_decoder(handle) or lib.llama_model_has_encoder(handle):
            hint = "Choose a model that generates text."
            raise BadModelFile("This model cannot chat", f"{path} holds an encoder.", hint)
        shape = shape or offload.shape_of_model(lib, handle, path)
        layers = shape.layers + 1 if engine_layers < 0 else min(engine_layers, shape.layers + 1)
        vocabulary = Vocabulary(lib, handle)
        template = choose_template(own_template(lib, handle), vocabulary)
        report(LoadProgress("warming"))
        check_host_memory(shape, options, shape.layers - max(0, layers - 1))
        threads = thread_counts.remembered_threads(options, path, layers) or thread_counts.default_threads(options)
        stream = opening.opened(lib, streaming, lambda: ram().available_bytes) if streaming is not None else None
        follower = stream.callback if stream is not None else None
        context = create_context(lib, handle, options, threads, follower=follower)
        # Each batch is a pass through what streams, so that small ones cost as much as large ones.
        decoder = Decoder(lib, context, on_gpu=layers > 0, whole_batches=streaming is not None)
        with contextlib.ExitStack() as stack:
            if stream is not None:
                stack.enter_context(telling(report, "warming", stream.done))
            warm_up(decoder, vocabulary, cancel)
        if streaming is not None and notes is not None:
            notes += streaming.notes(stream)
            if options.mlock:
                notes.append("mlock has no effect: the weights do not fit into main memory.")
        return OpenModel(
            lib=lib,
            path=path,
            options=options,
            handle=handle,
            decoder=decoder,
            vocabulary=vocabulary,
            template=template,
            shape=shape,
            trained_context=lib.llama_model_n_ctx_train(handle),
            engine_layers=layers,
            gpu=gpu,
            held=held,
            streamed_bytes=stream.now.streamed if stream is not None else streaming.read if streaming else 0,
            stream=stream,
        )
    except BaseException:
        if decoder is not None:
            decoder.close()
        if stream is not None:
            stream.close()
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
