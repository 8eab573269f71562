"""GGUF files made for tests: valid, tiny in their weights, as large as wanted in their vocabulary.

The layout is that of the GGUF specification, version 3 (ggml/docs/gguf.md).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

QWEN_VOCABULARY = 151_936
QWEN_MERGES = 151_387

_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _INT32 = 4, 6, 7, 8, 9, 5
_F32, _F16, _Q8_0, _Q3_K, _Q4_K, _Q5_K, _Q6_K = 0, 1, 8, 11, 12, 13, 14
# Weights and bytes of a block.
_BLOCKS = {
    _F32: (1, 4),
    _F16: (1, 2),
    _Q8_0: (32, 34),
    _Q3_K: (256, 110),
    _Q4_K: (256, 144),
    _Q5_K: (256, 176),
    _Q6_K: (256, 210),
}
# The number of the recipe in llama.h, and the type of most tensors in it.
_RECIPES = {"F16": (1, _F16), "Q8_0": (7, _Q8_0), "Q3_K_S": (11, _Q3_K), "Q4_K_M": (15, _Q4_K), "Q6_K": (18, _Q6_K)}
_NORMAL, _CONTROL = 1, 3
_ALIGNMENT = 32
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


Tensors = dict[str, tuple[int, tuple[int, ...]]]


@dataclass(frozen=True)
class Model:
    """The dimensions of a distill of DeepSeek-R1, from its publisher's config.json."""

    name: str
    architecture: str
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    merges: int = QWEN_MERGES
    context: int = 131_072
    head: int = 128
    tied: bool = False


LLAMA_8B = Model("DeepSeek R1 Distill Llama 8B", "llama", 32, 4096, 14_336, 32, 8, 128_256, merges=280_147)
QWEN_1_5B = Model("DeepSeek R1 Distill Qwen 1.5B", "qwen2", 28, 1536, 8960, 12, 2, 151_936)
QWEN_14B = Model("DeepSeek R1 Distill Qwen 14B", "qwen2", 48, 5120, 13_824, 40, 8, 152_064)
QWEN_32B = Model("DeepSeek R1 Distill Qwen 32B", "qwen2", 64, 5120, 27_648, 40, 8, 152_064)
QWEN3_8B = Model("DeepSeek R1 0528 Qwen3 8B", "qwen3", 36, 4096, 12_288, 32, 8, 151_936)
# The other two, which other tests do without.
QWEN_7B = Model("DeepSeek R1 Distill Qwen 7B", "qwen2", 28, 3584, 18_944, 28, 4, 152_064)
LLAMA_70B = Model("DeepSeek R1 Distill Llama 70B", "llama", 80, 8192, 28_672, 64, 8, 128_256, merges=280_147)
# llama.cpp takes anything of 80 layers for a 70B if it is a Qwen2.
QWEN_80 = Model("a Qwen2 of 80 layers", "qwen2", 80, 512, 1024, 8, 8, 1000)
MODELS = (LLAMA_8B, QWEN_1_5B, QWEN_14B, QWEN_32B, QWEN3_8B)


def sparse_model(
    path: Path,
    model: Model,
    recipe: str = "Q4_K_M",
    *,
    types: Mapping[str, int] | None = None,
    small_vocabulary: bool = False,
) -> Path:
    """Write `model` as a file of its true size whose weights are a hole: header and tensor table are as published.

    `recipe` is F16, Q8_0, Q3_K_S, Q4_K_M or Q6_K, and spreads types as llama.cpp's quantize does; `types` gives single
    tensors another type of ggml by name. llama.cpp loads such a file, without weights even quickly. With
    `small_vocabulary` it has a list of 512 tokens beside its full embedding: quick to write, but not to be loaded.
    """
    tokens, merges = (512, 100) if small_vocabulary else (model.vocabulary, model.merges)
    words, pairs = _vocabulary(tokens, merges)
    ordinary = words.index(_SPECIAL[0])
    arch = model.architecture
    metadata: dict[str, tuple[int, Any]] = {
        "general.architecture": (_STRING, arch),
        "general.type": (_STRING, "model"),
        "general.name": (_STRING, model.name),
        "general.file_type": (_UINT32, _RECIPES[recipe][0]),
        f"{arch}.block_count": (_UINT32, model.layers),
        f"{arch}.context_length": (_UINT32, model.context),
        f"{arch}.embedding_length": (_UINT32, model.hidden),
        f"{arch}.feed_forward_length": (_UINT32, model.feed_forward),
        f"{arch}.attention.head_count": (_UINT32, model.heads),
        f"{arch}.attention.head_count_kv": (_UINT32, model.kv_heads),
        f"{arch}.attention.layer_norm_rms_epsilon": (_FLOAT32, 1e-6),
        f"{arch}.attention.key_length": (_UINT32, model.head),
        f"{arch}.attention.value_length": (_UINT32, model.head),
        f"{arch}.rope.freq_base": (_FLOAT32, 1_000_000.0),
        "tokenizer.ggml.model": (_STRING, "gpt2"),
        "tokenizer.ggml.pre": (_STRING, "llama-bpe" if arch == "llama" else "qwen2"),
        "tokenizer.ggml.tokens": (_ARRAY, (_STRING, words)),
        "tokenizer.ggml.token_type": (_ARRAY, (_INT32, [_NORMAL] * ordinary + [_CONTROL] * (tokens - ordinary))),
        "tokenizer.ggml.merges": (_ARRAY, (_STRING, pairs)),
        "tokenizer.ggml.eos_token_id": (_UINT32, words.index("<|im_end|>")),
        "tokenizer.chat_template": (_STRING, _CHATML),
    }
    tensors = model_tensors(model, recipe)
    return write_gguf(
        path, metadata, tensors | {name: (kind, tensors[name][1]) for name, kind in (types or {}).items()}
    )


def model_tensors(model: Model, recipe: str) -> Tensors:
    """Return all tensors with the types that llama_tensor_get_type of llama.cpp chooses for a dense model."""
    most = _RECIPES[recipe][1]
    better = _Q6_K if recipe.endswith(("_S", "_M")) else most
    hidden, feed_forward, keys = model.hidden, model.feed_forward, model.kv_heads * model.head
    queries, layers = model.heads * model.head, model.layers
    tensors: Tensors = {
        "token_embd.weight": (most, (hidden, model.vocabulary)),
        "output_norm.weight": (_F32, (hidden,)),
        "output.weight": (better, (hidden, model.vocabulary)),
    }
    if model.tied:
        del tensors["output.weight"]
    if model.architecture == "llama":
        tensors["rope_freqs.weight"] = (_F32, (model.head // 2,))
    for layer in range(layers):
        more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
        special = better if more and recipe.endswith("_M") else most
        shared = _Q5_K if layers == 80 and special in {_Q3_K, _Q4_K} else special  # a 70B
        block: Tensors = {
            "attn_norm.weight": (_F32, (hidden,)),
            "attn_q.weight": (most, (hidden, queries)),
            "attn_k.weight": (most, (hidden, keys)),
            "attn_v.weight": (shared, (hidden, keys)),
            "attn_output.weight": (most, (queries, hidden)),
            "ffn_norm.weight": (_F32, (hidden,)),
            "ffn_gate.weight": (most, (hidden, feed_forward)),
            "ffn_up.weight": (most, (hidden, feed_forward)),
            "ffn_down.weight": (special, (feed_forward, hidden)),
        }
        if model.architecture == "qwen2":
            block |= {f"attn_{name}.bias": (_F32, (size,)) for name, size in (("q", queries), ("k", keys), ("v", keys))}
        if model.architecture == "qwen3":
            block |= {f"attn_{name}_norm.weight": (_F32, (model.head,)) for name in "qk"}
        tensors |= {f"blk.{layer}.{name}": tensor for name, tensor in block.items()}
    return tensors


def large_vocabulary(path: Path, tokens: int = QWEN_VOCABULARY, merges: int = QWEN_MERGES, layers: int = 2) -> Path:
    """Write a Llama of `layers` narrow layers, all weights 0, with a byte-pair vocabulary of Qwen's size."""
    hidden, feed_forward, heads = 64, 128, 2
    words, pairs = _vocabulary(tokens, merges)
    ends = words.index("<|im_end|>")
    ordinary = tokens - words.index(_SPECIAL[0])
    metadata: dict[str, tuple[int, Any]] = {
        "general.architecture": (_STRING, "llama"),
        "general.name": (_STRING, "a large vocabulary"),
        "llama.context_length": (_UINT32, 8192),
        "llama.embedding_length": (_UINT32, hidden),
        "llama.block_count": (_UINT32, layers),
        "llama.feed_forward_length": (_UINT32, feed_forward),
        "llama.attention.head_count": (_UINT32, heads),
        "llama.attention.layer_norm_rms_epsilon": (_FLOAT32, 1e-5),
        "tokenizer.ggml.model": (_STRING, "gpt2"),
        "tokenizer.ggml.pre": (_STRING, "qwen2"),
        "tokenizer.ggml.tokens": (_ARRAY, (_STRING, words)),
        "tokenizer.ggml.token_type": (_ARRAY, (_INT32, [_NORMAL] * (tokens - ordinary) + [_CONTROL] * ordinary)),
        "tokenizer.ggml.merges": (_ARRAY, (_STRING, pairs)),
        "tokenizer.ggml.eos_token_id": (_UINT32, ends),
        "tokenizer.ggml.add_bos_token": (_BOOL, False),
        "tokenizer.chat_template": (_STRING, _CHATML),
    }
    tensors: Tensors = {
        "token_embd.weight": (_F16, (hidden, tokens)),
        "output_norm.weight": (_F32, (hidden,)),
    }
    for layer in range(layers):
        block = f"blk.{layer}."
        tensors |= {f"{block}{name}_norm.weight": (_F32, (hidden,)) for name in ("attn", "ffn")}
        tensors |= {f"{block}attn_{name}.weight": (_F16, (hidden, hidden)) for name in ("q", "k", "v", "output")}
        tensors |= {f"{block}ffn_{name}.weight": (_F16, (hidden, feed_forward)) for name in ("gate", "up")}
        tensors[f"{block}ffn_down.weight"] = (_F16, (feed_forward, hidden))
    return write_gguf(path, metadata, tensors)


@functools.cache
def _vocabulary(tokens: int, merges: int) -> tuple[list[str], list[str]]:
    """Return so many tokens, those of chat templates among them, and so many merges."""
    words, pairs = _byte_pairs(merges)
    words = words[: tokens - len(_SPECIAL)]
    words += _SPECIAL
    words += (f"<|extra_{number}|>" for number in range(tokens - len(words)))
    return words, pairs


def _byte_pairs(count: int) -> tuple[list[str], list[str]]:
    """Return the 256 bytes as GPT-2 writes them with `count` words merged from them, and the merges."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    letters = [chr(byte) for byte in plain] + [chr(256 + number) for number in range(len(others))]
    doubles = [(one, other) for one in letters for other in letters][: count // 4]
    twos = [one + other for one, other in doubles]
    few = min(4096, len(twos))
    fours = ((twos[place % few], twos[(place * 7 + place // few) % len(twos)]) for place in range(10 * count))
    unique = dict.fromkeys(fours)
    pairs = list(islice(chain(doubles, unique), count))
    words = list(dict.fromkeys([*letters, *(one + other for one, other in pairs)]))
    return words, [f"{one} {other}" for one, other in pairs]


def write_gguf(path: Path, metadata: dict[str, tuple[int, Any]], tensors: Tensors) -> Path:
    """Write a file with these values, (type, value), and these tensors, (type of ggml, shape). All weights are 0."""
    head, size = gguf_header(metadata, tensors)
    with path.open("wb") as file:
        file.write(head)
        # Weights of 0 are a hole in the file.
        file.truncate(-(-len(head) // _ALIGNMENT) * _ALIGNMENT + size)
    return path


def gguf_header(metadata: Mapping[str, tuple[int, Any]], tensors: Tensors) -> tuple[bytes, int]:
    """Return a header, not padded, and the bytes of the tensors that have to follow it. Values are (type, value)."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, (kind, value) in metadata.items():
        parts += [_text(key), struct.pack("<I", kind), _value(kind, value)]
    offset = 0
    for name, (kind, shape) in tensors.items():
        parts.append(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))
        block, size = _BLOCKS[kind]
        for length in shape:
            size *= length
        size //= block
        offset += -(-size // _ALIGNMENT) * _ALIGNMENT
    return b"".join(parts), offset


def _value(kind: int, value: Any) -> bytes:
    if kind == _STRING:
        return _text(value)
    if kind == _ARRAY:
        of, values = value
        return struct.pack("<IQ", of, len(values)) + _values(of, values)
    return _values(kind, [value])


def _values(of: int, values: Sequence[Any]) -> bytes:
    if of == _STRING:
        return b"".join(map(_text, values))
    return struct.pack(f"<{len(values)}{'BbHhIif?__Qqd'[of]}", *values)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
