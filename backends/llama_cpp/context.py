"""The engine's context: KV cache and compute buffers, as small as the options allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backends.errors import BackendError, BadOptions
from backends.fitting import round_context
from backends.gguf.shape import Shape
from backends.hardware.memory import ram
from backends.llama_cpp.binding import log
from backends.llama_cpp.model import logged_out_of_memory, out_of_memory
from backends.llama_cpp.options import LlamaCppOptions
from backends.llama_cpp.streaming.opening import Wanted, wanted
from backends.llama_cpp.thread_counts import ThreadCounts, default_threads
from backends.planning.choice import Ground, unmapped_bytes, way
from backends.planning.memory import Setup, engine_layers, kv_block_bytes
from backends.planning.result import Wishes
from backends.planning.speed import Rates, traffic

# ggml_type in ggml.h.
_GGML_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}


def check_options(options: LlamaCppOptions) -> None:
    """Raise BadOptions for a combination that the engine refuses."""
    if options.kv_cache != "f16" and options.flash_attention == "off":
        raise BadOptions(
            "A quantized KV cache needs flash attention",
            f'kv_cache is "{options.kv_cache}" and flash_attention is "off".',
            'Set flash_attention = "auto" or kv_cache = "f16".',
        )


def check_host_memory(shape: Shape, options: LlamaCppOptions, host_blocks: int) -> None:
    """Raise OutOfMemory for a KV cache that this process can never hold: the kernel would end it instead."""
    cells = round_context(options.context)
    need = sum(kv_block_bytes(shape, block, cells, options.kv_cache) for block in shape.blocks[:host_blocks])
    memory = ram()
    have = memory.limit_bytes or memory.total_bytes
    if have is not None and need > have:
        raise out_of_memory(
            f"The KV cache for {options.context} tokens needs {need / 1024**3:.1f} GiB; "
            f"there are {have / 1024**3:.1f} GiB for this process.",
            on_gpu=False,
        )


def wanted_stream(
    path: Path, shape: Shape, options: LlamaCppOptions, blocks: int, held: tuple[str, ...], *, on_card: bool
) -> Wanted | None:
    """Return how the model streams if main memory does not hold the CPU's part of it; None if it does.

    `blocks` is how many are whole on a card, which `on_card` says to take part; of one more the matrices `held` are
    not there.
    """
    free = ram().available_bytes
    stand = Ground(0 if on_card else None, 0, False, free, Rates())
    setup, wishes = setup_of(options), Wishes(mmap=options.mmap)
    chosen = way(shape, setup, wishes, stand, blocks)
    if not chosen.spills or free is None:
        return None
    read = traffic(shape, setup, engine_layers(blocks) or int(on_card), depth=0).memory
    return wanted(
        path,
        shape,
        options,
        shape.layers - blocks - bool(held),
        held,
        output_here=not on_card,
        unmapped=unmapped_bytes(chosen.placement, wishes),
        free=free,
        read=read,
    )


def setup_of(options: LlamaCppOptions) -> Setup:
    """Return the options as far as they decide about memory."""
    ubatch = min(options.batch, options.ubatch)
    return Setup(options.context, options.kv_cache, options.flash_attention != "off", ubatch)


def create_context(
    lib: Any,
    model: int,
    options: LlamaCppOptions,
    threads: ThreadCounts | None = None,
    *,
    outputs: int = 1,
    sequences: int = 1,
    follower: Any = None,
) -> int:
    """Create a context for `model` and return the engine's handle; without `threads` as the options say.

    Of one batch at most `outputs` tokens have logits. `sequences` share the context in equal parts. `follower` is the
    engine's evaluation callback, which has to outlive the context. Raises OutOfMemory, BadOptions or BackendError.
    """
    threads = threads or default_threads(options)
    params = lib.llama_context_default_params()
    params.n_ctx = round_context(options.context)
    params.n_batch = options.batch
    params.n_ubatch = min(options.batch, options.ubatch)
    params.n_threads = threads.decode
    params.n_threads_batch = threads.prefill
    params.type_k = params.type_v = _GGML_TYPES[options.kv_cache]
    params.flash_attn_type = {
        "auto": lib.LLAMA_FLASH_ATTN_TYPE_AUTO,
        "on": lib.LLAMA_FLASH_ATTN_TYPE_ENABLED,
        "off": lib.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    }[options.flash_attention]
    # An answer reads the last token's logits alone; the default reserves a row for each token of a batch.
    params.n_outputs_max = outputs
    params.n_seq_max = sequences
    if follower is not None:
        params.cb_eval = follower
    params.no_perf = False  # so that what is shown can be held against the engine's own counters
    log.clear()
    context = lib.llama_init_from_model(model, params)
    if context is not None:
        return int(context)
    cause, line = log.cause()
    match cause:
        case "memory":
            raise logged_out_of_memory()
        case "flash_attention":
            hint = 'Set kv_cache = "f16".'
            raise BadOptions("This model cannot use flash attention, which kv_cache needs", line, hint)
        case _:
            raise BackendError("The engine could not prepare the model", line, "Try a smaller context.")
