"""How many blocks a card may take, by simple byte counting, and trying fewer when the count was wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from backends import remembered
from backends.errors import OutOfMemory
from backends.llama_cpp.model import HostOutOfMemory, load_error, metadata
from backends.llama_cpp.options import KvCache

MARGIN_BYTES = 384 * 1024**2
RETREAT = 2
_KIND = "layers"

_T = TypeVar("_T")

# Bytes an element, from ggml's block formats: q8_0 is 32 bytes and a half-float scale, q4_0 16 and one.
_KV_BYTES: dict[KvCache, float] = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
# llama.cpp stores the output tensor of its K-quant mixtures as Q6_K: 210 bytes for 256 weights.
_OUTPUT_BYTES_PER_WEIGHT = 210 / 256


class ModelShape(msgspec.Struct, frozen=True):
    """The numbers of a model that decide about memory. `weight_bytes` is the sum of its tensors."""

    layers: int
    hidden: int
    feed_forward: int
    vocabulary: int
    kv_heads: int
    key_length: int
    value_length: int
    weight_bytes: int
    parameters: int

    def kv_bytes_per_layer(self, context: int, kv_cache: KvCache) -> int:
        """Return the bytes of the KV cache of one block for `context` tokens."""
        elements = self.kv_heads * (self.key_length + self.value_length)
        return int(context * elements * _KV_BYTES[kv_cache])

    def output_bytes(self) -> int:
        """Return an estimate of the output tensor, on the large side."""
        weights = self.vocabulary * self.hidden
        return int(weights * max(_OUTPUT_BYTES_PER_WEIGHT, self.weight_bytes / max(1, self.parameters)))

    def block_bytes(self) -> int:
        """Return the weights of one block: what is not the embedding, evenly spread (on the large side)."""
        embedding = self.vocabulary * self.hidden * self.weight_bytes // max(1, self.parameters)
        return max(1, (self.weight_bytes - embedding) // max(1, self.layers))

    def compute_bytes(self, context: int, ubatch: int) -> int:
        """Return the compute buffer with flash attention and one row of logits.

        max(4·V + 8·u·E, 4·u·(3·F + 4·E) + 2·u·ctx), fitted to dry runs of llama.cpp within 3 %.
        """
        logits = 4 * self.vocabulary + 8 * ubatch * self.hidden
        block = 4 * ubatch * (3 * self.feed_forward + 4 * self.hidden) + 2 * ubatch * context
        return max(logits, block)


def read_shape(lib: Any, path: Path) -> ModelShape:
    """Read a model's numbers from its file without loading weights (20 to 100 ms). Raises as a failed load does."""
    params = lib.llama_model_default_params()
    params.no_alloc = True
    params.load_mode = lib.LLAMA_LOAD_MODE_NONE
    params.n_gpu_layers = 0
    model = lib.llama_model_load_from_file(str(path).encode("utf-8", "surrogateescape"), params)
    if model is None:
        raise load_error(path)
    try:
        return shape_of(lib, model)
    finally:
        lib.llama_model_free(model)


def shape_of(lib: Any, model: int) -> ModelShape:
    """Return the numbers of a loaded model."""
    architecture = metadata(lib, model, "general.architecture")
    hidden = lib.llama_model_n_embd(model)
    head = hidden // max(1, lib.llama_model_n_head(model))

    def number(key: str, otherwise: int) -> int:
        text = metadata(lib, model, f"{architecture}.{key}")
        return int(text) if text.isdigit() else otherwise

    return ModelShape(
        layers=lib.llama_model_n_layer(model),
        hidden=hidden,
        feed_forward=number("feed_forward_length", 4 * hidden),
        vocabulary=lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model)),
        kv_heads=lib.llama_model_n_head_kv(model),
        key_length=number("attention.key_length", head),
        value_length=number("attention.value_length", head),
        weight_bytes=lib.llama_model_size(model),
        parameters=lib.llama_model_n_params(model),
    )


def blocks_that_fit(shape: ModelShape, free_bytes: int, context: int, kv_cache: KvCache, ubatch: int) -> int:
    """Return how many of the model's blocks fit into `free_bytes` of a card, beside the output layer and a margin."""
    fixed = MARGIN_BYTES + shape.compute_bytes(context, ubatch) + shape.output_bytes()
    each = shape.block_bytes() + shape.kv_bytes_per_layer(context, kv_cache)
    return max(0, min(shape.layers, (free_bytes - fixed) // each))


def engine_layers(blocks: int) -> int:
    """Return llama.cpp's own count for so many blocks on the GPU: the output layer comes first."""
    return blocks + 1 if blocks else 0


def load_with_retreat(blocks: int, attempt: Callable[[int], _T], retreat: Callable[[str], None]) -> tuple[_T, int]:
    """Call `attempt` with `blocks`, and with two fewer after each OutOfMemory; return what it gave and with how many.

    `retreat` is told each step in a sentence. Raises OutOfMemory if it does not fit without the GPU either, or if
    main memory is what is short.
    """
    while True:
        try:
            return attempt(blocks), blocks
        except HostOutOfMemory:
            raise
        except OutOfMemory:
            if blocks == 0:
                raise
            fewer = max(0, blocks - RETREAT)
            retreat(f"{blocks} layers did not fit on the GPU; trying {fewer}.")
            blocks = fewer


def remembered_excess(key: str) -> int:
    """Return how many blocks fewer than estimated could be loaded when it last did not fit; 0 if it always did."""
    value = remembered.read(_KIND, key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def remember_excess(key: str, blocks: int) -> None:
    remembered.write(_KIND, key, blocks)
