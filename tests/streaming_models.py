"""A real model of a few GB, made for reading it again and again: true random weights in F16, so that a byte costs
little to compute and a sparse file's holes cannot stand in for the disk."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from typing import BinaryIO

from tests.backends.tiny_models import bpe_vocabulary, string, typed

HIDDEN, HEADS, FEED_FORWARD = 2048, 16, 8192
_F32, _F16 = 0, 1
_BLOCK_BYTES = 2 * (4 * HIDDEN * HIDDEN + 3 * HIDDEN * FEED_FORWARD)
_PIECE = 4 * 1024**2


def layers_for(size: int) -> int:
    """Return how many layers make about `size` bytes."""
    return max(1, round(size / _BLOCK_BYTES))


def write_model(path: Path, layers: int, template: str | None = None, seed: int = 1) -> Path:
    """Write a Llama of `layers` layers with 134 MB each, and sync it to the disk."""
    names, types, merges = bpe_vocabulary()
    first = next(place for place, kind in enumerate(types) if kind == 3)
    values: dict[str, object] = {
        "general.architecture": "llama",
        "llama.context_length": 8192,
        "llama.embedding_length": HIDDEN,
        "llama.block_count": layers,
        "llama.feed_forward_length": FEED_FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": HIDDEN // HEADS,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": first,
        "tokenizer.ggml.eos_token_id": first + 1,
        "tokenizer.ggml.add_bos_token": True,
    }
    if template is not None:
        values["tokenizer.chat_template"] = template
    tensors = _tensors(layers, len(names))
    header = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)))
    for key, value in values.items():
        header += string(key) + typed(value)
    offset = 0
    for name, shape, kind in tensors:
        header += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += _aligned(_size(shape, kind))
    header += bytes(_aligned(len(header)) - len(header))
    noise = _weights(seed)
    with path.open("wb") as file:
        file.write(header)
        for _, shape, kind in tensors:
            size = _size(shape, kind)
            _write_tensor(file, noise, size, kind)
            file.write(bytes(_aligned(size) - size))
        file.flush()
        os.fsync(file.fileno())
    return path


def _weights(seed: int) -> bytes:
    """Return F16 numbers of random sign and mantissa, all about 0.015: no infinity, no NaN, nothing that explodes."""
    mixed = bytearray(random.Random(seed).randbytes(_PIECE))
    # Of each two bytes the higher one has the sign, five bits of exponent (8 is 2^-7) and two of the mantissa.
    mixed[1::2] = mixed[1::2].translate(bytes(0x20 | (byte & 0x83) for byte in range(256)))
    return bytes(mixed)


def _write_tensor(file: BinaryIO, noise: bytes, size: int, kind: int) -> None:
    if kind == _F32:
        file.write(struct.pack("<f", 1.0) * (size // 4))
        return
    while size > 0:
        file.write(noise[:size] if size < len(noise) else noise)
        size -= len(noise)


def _tensors(layers: int, tokens: int) -> list[tuple[str, tuple[int, ...], int]]:
    square, wide, back = (HIDDEN, HIDDEN), (HIDDEN, FEED_FORWARD), (FEED_FORWARD, HIDDEN)
    found: list[tuple[str, tuple[int, ...], int]] = [
        ("token_embd.weight", (HIDDEN, tokens), _F16),
        ("output_norm.weight", (HIDDEN,), _F32),
        ("output.weight", (HIDDEN, tokens), _F16),
    ]
    for layer in range(layers):
        block = [
            ("attn_norm", (HIDDEN,), _F32),
            *((f"attn_{part}", square, _F16) for part in ("q", "k", "v", "output")),
            ("ffn_norm", (HIDDEN,), _F32),
            ("ffn_gate", wide, _F16),
            ("ffn_up", wide, _F16),
            ("ffn_down", back, _F16),
        ]
        found += [(f"blk.{layer}.{name}.weight", shape, kind) for name, shape, kind in block]
    return found


def _size(shape: tuple[int, ...], kind: int) -> int:
    size = 4 if kind == _F32 else 2
    for side in shape:
        size *= side
    return size


def _aligned(size: int) -> int:
    return -(-size // 32) * 32
