"""The engine's own count of its memory: a model without weights and a context without buffers, and what its log says.

Compute buffers and the KV cache are exact, for the very card and its kernels. Weights come from the table of tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from backends import remembered
from backends.gguf.shape import Shape
from backends.llama_cpp.binding import GpuDevice, log, version
from backends.llama_cpp.context import create_context
from backends.llama_cpp.logs import buffers
from backends.llama_cpp.model import NONE_HELD, Held, without_weights
from backends.llama_cpp.options import LlamaCppOptions
from backends.llama_cpp.thread_counts import ThreadCounts
from backends.planning.memory import Setup, engine_layers, kv_bytes, place

_KIND = "dry_runs"
_BEGUN = "begun"
_COMPUTE = " compute"
# llama_kv_cache: size = 1024.00 MiB (  8192 cells,  32 layers,  1/1 seqs), K (f16): …; others have several such lines.
_KV = re.compile(r": size = +([0-9.]+) MiB \( *[0-9]+ cells, +([0-9]+) layers")
_MIB = 1024**2
_PRINTED = 0.0051 * _MIB  # The log rounds to a hundredth of a MiB.


class Sizes(msgspec.Struct, frozen=True):
    """Bytes as the engine's log rounds them: compute buffers by the name of their device, KV caches with layers."""

    compute: dict[str, int]
    kv: tuple[tuple[int, int], ...]


def card_bytes(
    lib: Any,
    path: Path,
    options: LlamaCppOptions,
    gpu: GpuDevice,
    shape: Shape,
    setup: Setup,
    blocks: int,
    held: tuple[str, ...] = (),
) -> int | None:
    """Return what `blocks` blocks and the output layer take on the card by the engine's count, None if it has none.

    Of the lowest of them the matrices `held` stay with the CPU.
    """
    back = Held(shape.layers - blocks, held) if held else NONE_HELD
    found = dry_run(lib, path, options, gpu, engine_layers(blocks), shape, back)
    if found is None or gpu.name not in found.compute:
        return None
    planned = place(shape, setup, engine_layers(blocks), 0, held).card
    # Not in any buffer of the log: where kernels unpack a quantised cache. With all blocks there it is alone.
    scratch = place(shape, setup, engine_layers(shape.layers)).card.overhead
    return planned.weights + _kv_on_card(found, shape, setup, blocks) + found.compute[gpu.name] + scratch


def dry_run(
    lib: Any,
    path: Path,
    options: LlamaCppOptions,
    gpu: GpuDevice | None,
    layers: int,
    shape: Shape | None = None,
    held: Held = NONE_HELD,
) -> Sizes | None:
    """Return what a load with so many of the engine's layers on the card would take; None where that fails.

    The first time it takes 20 to 70 ms, without the model's `shape` up to 250; later it is remembered. One that has
    ended the process is not tried again.
    """
    facts = (layers, options.context, options.kv_cache, options.flash_attention, options.batch, options.ubatch)
    card = (gpu.name, gpu.description) if gpu is not None else ()
    key = remembered.key_of_model(path, version(), *facts, *card, *held.names)
    known = remembered.read(_KIND, key)
    if known is not None:
        return _remembered(known)
    remembered.write(_KIND, key, _BEGUN)
    echo, log.echo = log.echo, False
    try:
        found = read_sizes(_log_of(lib, path, options, gpu, layers, shape, held))
    except Exception:  # noqa: BLE001 - whatever goes wrong, there is the formula
        found = None  # and tried again the next time
    finally:
        log.echo = echo
    remembered.write(_KIND, key, None if found is None else msgspec.to_builtins(found))
    return found


def read_sizes(lines: Iterable[str]) -> Sizes:
    """Read the log of a context."""
    lines = list(lines)
    compute = {name.removesuffix(_COMPUTE): size for name, size in buffers(lines).items() if name.endswith(_COMPUTE)}
    kv = [(round(float(match[1]) * _MIB), int(match[2])) for line in lines if (match := _KV.search(line))]
    return Sizes(compute, tuple(kv))


def _log_of(
    lib: Any,
    path: Path,
    options: LlamaCppOptions,
    gpu: GpuDevice | None,
    layers: int,
    shape: Shape | None,
    held: Held = NONE_HELD,
) -> list[str]:
    """Make model and context without memory and free both; return the context's log. Raises BackendError."""
    with without_weights(lib, path, gpu, layers, shape, held) as model:
        context = create_context(lib, model, options, ThreadCounts(1, 1))
        lines = log.lines()
        lib.llama_free(context)
    return lines


def _kv_on_card(found: Sizes, shape: Shape, setup: Setup, blocks: int) -> int:
    """Return the KV cache of the last blocks: exact where the engine's whole cache is the formula's.

    Otherwise, as where layers keep only a window, which layers have the large caches is not known: as if it were these.
    """
    whole = sum(size for size, _ in found.kv)
    if abs(whole - kv_bytes(shape, setup)) <= _PRINTED * len(found.kv):
        return place(shape, setup, engine_layers(blocks)).card.kv
    by_layer = sorted((size / layers for size, layers in found.kv for _ in range(layers)), reverse=True)
    return round(sum(by_layer[:blocks]))


def _remembered(value: object) -> Sizes | None:
    try:
        return msgspec.convert(value, Sizes)
    except msgspec.ValidationError:
        return None
