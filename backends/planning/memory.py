"""Bytes of a model in llama.cpp, by place and by what they are for.

Formulas were fitted to the engine's own dry runs (llama-cpp-python 0.3.36, CPU build): five shapes, contexts of 2k to
32k, every KV type, flash attention on and off, n_ubatch 64 to 2048. What a GPU build adds comes from its sources.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

from backends.fitting import round_context
from backends.gguf.shape import FEED_FORWARD, Block, Shape
from backends.gguf.tensors import TYPES, TensorType

KvCache = Literal["f16", "q8_0", "q4_0"]
"""The types that the engine's options know, see `backends.llama_cpp.options`."""

HOST_BYTES = 84 * 1024**2
"""What a host process takes beside weights, cache and buffers: 79 to 83 MiB with the vocabularies of Llama and Qwen."""

# Bytes of a block of 32 elements: block_q8_0 and block_q4_0 in ggml-common.h have a half-float scale.
_KV_BLOCK, _KV_BLOCK_BYTES = 32, {"f16": 64, "q8_0": 34, "q4_0": 18}
# Positions, tokens and row numbers of a batch: 4 + 4 + 8 + 8 bytes a token.
_INPUT_BYTES = 24
# llama.cpp turns keys and values before it quantises them, by matrices of 128² and 64² floats.
_ROTATION_BYTES = 4 * (128**2 + 64**2)
_TESTED = {"llama", "qwen2", "qwen3"}
_BY_NAME = {kind.name: kind for kind in TYPES.values()}


class Setup(msgspec.Struct, frozen=True):
    """How a model is run, as far as memory is concerned. `context` is in tokens; `ubatch` is llama.cpp's n_ubatch."""

    context: int
    kv_cache: KvCache = "f16"
    flash_attention: bool = True
    ubatch: int = 512

    @property
    def cells(self) -> int:
        """Return the tokens for which the engine makes room: the context rounded up as it rounds it."""
        return round_context(self.context)

    @property
    def batch(self) -> int:
        """Return how many tokens are computed at once."""
        return min(self.ubatch, self.cells)


class Use(msgspec.Struct, frozen=True):
    """Bytes in one place. `overhead` is what the engine takes besides weights, KV cache and compute buffers."""

    weights: int = 0
    kv: int = 0
    compute: int = 0
    overhead: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.overhead


class Placement(msgspec.Struct, frozen=True):
    """Where everything lies. `blocks` is the number of blocks on the card: the last ones of the model.

    `output_on_card` is llama.cpp's first step: the output layer goes there before any block.
    """

    blocks: int
    output_on_card: bool
    card: Use
    host: Use


def engine_layers(blocks: int) -> int:
    """Return llama.cpp's n_gpu_layers for so many blocks on the card: the output layer comes first."""
    return blocks + 1 if blocks else 0


def kv_block_bytes(shape: Shape, block: Block, cells: int, kv_cache: KvCache) -> int:
    """Return the KV cache of one block for `cells` tokens: kv heads · (key + value length) · bytes an element."""
    elements = block.kv_heads * (shape.key_length + shape.value_length) * cells
    return elements * _KV_BLOCK_BYTES[kv_cache] // _KV_BLOCK


def kv_bytes(shape: Shape, setup: Setup) -> int:
    """Return the whole KV cache, on the card and off it."""
    return sum(kv_block_bytes(shape, block, setup.cells, setup.kv_cache) for block in shape.blocks)


def may_quantise_kv(shape: Shape) -> bool:
    """Say whether a quantised KV cache is possible: rows have to be whole blocks."""
    return not (shape.key_length % _KV_BLOCK or shape.value_length % _KV_BLOCK)


def compute_bytes(shape: Shape, setup: Setup, outputs: int = 1) -> int:
    """Return the compute buffer of a place where blocks are computed, with `outputs` rows of logits.

    For n_ubatch u, hidden size E, feed-forward size F, vocabulary V, heads H, width of keys and values K, context c:
    the largest of 4·o·V + 8·u·E and, with flash attention, 4·u·(3·F + 4·E) + 2·u·c (one E less with a quantised cache),
    or without it, 4·u·c·(H + 1) + 4·u·(5·E + K) and 4·u·(3·F + 3·E + K + c); and the inputs of a batch.
    """
    batch, context, hidden = setup.batch, setup.cells, shape.hidden
    feed_forward = _feed_forward(shape)
    width = max((block.kv_heads for block in shape.blocks), default=0) * (shape.key_length + shape.value_length)
    quantised = setup.kv_cache != "f16"
    if setup.flash_attention:
        block = 4 * batch * (3 * feed_forward + (3 if quantised else 4) * hidden) + 2 * batch * context
    else:
        attention = 4 * batch * context * (shape.heads + 1) + 4 * batch * (5 * hidden + width)
        # The place of the scores is used again, if it is large enough.
        rows = 4 if context * shape.heads < 3 * hidden else 3
        block = max(attention, 4 * batch * (3 * feed_forward + rows * hidden + width + context))
    logits = 4 * outputs * shape.vocabulary + 8 * batch * hidden
    return max(logits, block) + _INPUT_BYTES * batch + (_ROTATION_BYTES if quantised else 0)


def held_bytes(block: Block, held: Collection[str]) -> int:
    """Return the bytes of a block's matrices with these names of `FEED_FORWARD`."""
    return sum(size for name, size in zip(FEED_FORWARD, block.feed_forward, strict=True) if name in held)


def place(shape: Shape, setup: Setup, gpu_layers: int, card_overhead: int = 0, held: Collection[str] = ()) -> Placement:
    """Return where everything lies with llama.cpp's n_gpu_layers = `gpu_layers`.

    The embedding stays with the CPU; N layers are the output layer and the last N - 1 blocks (llama-model.cpp). An
    embedding that serves as output is copied to the card. `card_overhead` is what the driver's context takes, where it
    was measured. Of the lowest block on the card the matrices `held` stay with the CPU, through tensor overrides.
    """
    blocks = min(max(0, gpu_layers - 1), shape.layers)
    low, high = shape.blocks[: shape.layers - blocks], shape.blocks[shape.layers - blocks :]
    on_card = gpu_layers > 0
    kv_low, kv_high = (
        sum(kv_block_bytes(shape, block, setup.cells, setup.kv_cache) for block in part) for part in (low, high)
    )
    compute = compute_bytes(shape, setup)
    back = held_bytes(high[0], held) if high else 0
    host = Use(
        weights=sum(block.bytes for block in low)
        + back
        + shape.embedding_bytes
        + (0 if on_card else shape.output_bytes)
        + (shape.other_bytes if low else 0),
        kv=kv_low,
        # One row of logits is handed out in main memory.
        compute=(compute if low or back else _inputs(shape, setup)) + 4 * shape.vocabulary,
        overhead=HOST_BYTES,
    )
    if not on_card:
        return Placement(0, False, Use(), host)
    extras = _kv_scratch(shape, setup) if high else 0
    largest = [largest_tensor_bytes(shape, block) for block in low]
    largest += [held_bytes(high[0], (name,)) for name in held if high]
    extras += max(largest, default=0)
    card = Use(
        weights=sum(block.bytes for block in high)
        - back
        + shape.card_output_bytes
        + (shape.other_bytes if high else 0),
        kv=kv_high,
        compute=compute,
        overhead=extras + card_overhead,
    )
    return Placement(blocks, True, card, host)


def largest_tensor_bytes(shape: Shape, block: Block) -> int:
    """Return the largest weight tensor of a block, which long prompts copy to the card (llama.cpp's op offload).

    That is one of the feed-forward matrices; for experts, a third of them. Where the shape does not tell them apart:
    hidden · feed-forward weights of the widest type in the file, but not more than the block leaves when everything
    else in it has the narrowest.
    """
    if block.expert_bytes:
        return -(-block.expert_bytes // 3)
    if any(block.feed_forward):
        return max(block.feed_forward)
    rates = [kind.block_bytes / kind.block for kind in _matrices(shape)]
    feed_forward = shape.feed_forward
    if not rates or not feed_forward:
        return block.bytes
    heads = 2 * shape.heads * shape.key_length + block.kv_heads * (shape.key_length + shape.value_length)
    others = shape.hidden * (heads + 2 * feed_forward)
    largest = shape.hidden * feed_forward * max(rates)
    return max(0, min(block.bytes, round(largest), round(block.bytes - others * min(rates))))


def doubts(shape: Shape) -> tuple[str, ...]:
    """Return sentences on what in this model the formulas only bound, or do not know."""
    found = []
    if shape.architecture not in _TESTED:
        found.append(
            f"The formulas were not tried with {shape.architecture} models; memory may differ by some percent."
        )
    if shape.sliding_window:
        found.append("Some layers keep only a window of the context: less KV cache may be needed than is counted here.")
    if shape.latent_attention:
        found.append("Keys and values are cached compressed: less KV cache may be needed than is counted here.")
    if any(block.kv_heads == 0 for block in shape.blocks):
        found.append("Some layers have no KV cache; a state of their own, if they have one, is not counted.")
    if shape.experts:
        found.append("Buffers of a model with experts are not known well: they may take twice what is counted here.")
    if shape.unknown_types:
        found.append(f"{shape.unknown_types} tensors are of a type that is not known here.")
    return tuple(found)


def _feed_forward(shape: Shape) -> int:
    return shape.feed_forward or 4 * shape.hidden


def _inputs(shape: Shape, setup: Setup) -> int:
    """Return what the CPU prepares when it computes no block: embedded tokens and the mask of attention."""
    mask = (2 if setup.flash_attention else 4) * setup.batch * setup.cells
    return 4 * setup.batch * shape.hidden + mask + _INPUT_BYTES * setup.batch


def _kv_scratch(shape: Shape, setup: Setup) -> int:
    """Return where a card unpacks the quantised cache of one block to f16 (ggml-cuda, fattn-common.cuh)."""
    if setup.kv_cache == "f16":
        return 0
    return max((kv_block_bytes(shape, block, setup.cells, "f16") for block in shape.blocks), default=0)


def _matrices(shape: Shape) -> list[TensorType]:
    """Return the types in which the file keeps its matrices; norms and biases are less than a hundredth of it."""
    total = sum(size for _, size in shape.type_bytes)
    return [_BY_NAME[name] for name, size in shape.type_bytes if name in _BY_NAME and size * 100 > total]
