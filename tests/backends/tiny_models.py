"""Writes real, tiny GGUF files: one layer of zeros, and a vocabulary of which every token is known.

The format is that of ggml's docs/gguf.md, version 3.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6

BOS, EOS, USER, ASSISTANT = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"
R1_SPECIAL = {BOS: CONTROL, EOS: CONTROL, USER: CONTROL, ASSISTANT: CONTROL, "<think>": USER_DEFINED}
R1_SPECIAL |= {"</think>": USER_DEFINED, "<|im_end|>": CONTROL}
WORDS = ("Ġkind", "Ġworld", "Ġand", "Ġno", "Ġwhat", "ĊĊ", "Be", "hello", "world", "Hm", "Yes", "So")

_EMBEDDING, _HEADS, _FEED = 64, 2, 64
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


def byte_letters() -> list[str]:
    """Return the letter that stands for each byte in a byte-level BPE vocabulary (GPT-2's `bytes_to_unicode`)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def bpe_vocabulary(special: Mapping[str, int] = R1_SPECIAL) -> tuple[list[str], list[int], list[str]]:
    """Return names, types and merges: all bytes, WORDS and what they are merged from, then the special tokens."""
    names, merges = byte_letters(), []
    for word in WORDS:
        for end in range(2, len(word) + 1):
            merge = f"{word[: end - 1]} {word[end - 1]}"
            if merge not in merges:
                merges.append(merge)
                names.append(word[:end])
    return [*names, *special], [NORMAL] * len(names) + list(special.values()), merges


def write_bpe_model(
    path: Path,
    template: str | None,
    architecture: str = "llama",
    pre: str = "llama-bpe",
    add_bos: bool = True,
    special: Mapping[str, int] = R1_SPECIAL,
) -> list[str]:
    """Write a model with a byte-level BPE vocabulary; return the names of its tokens, in order."""
    names, types, merges = bpe_vocabulary(special)
    first = len(names) - len(special)
    vocabulary: dict[str, object] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": first,
        "tokenizer.ggml.eos_token_id": first + 1,
        "tokenizer.ggml.add_bos_token": add_bos,
    }
    _write(path, architecture, len(names), vocabulary, template)
    return names


def write_sentencepiece_model(path: Path, template: str, pieces: Sequence[str]) -> list[str]:
    """Write a model with a SentencePiece vocabulary: `<unk>`, `<s>`, `</s>`, all bytes, then `pieces`."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(pieces)]
    vocabulary: dict[str, object] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.scores": [float(-place) for place in range(len(names))],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    _write(path, "llama", len(names), vocabulary, template)
    return names


def _write(path: Path, architecture: str, tokens: int, vocabulary: Mapping[str, object], template: str | None) -> None:
    values: dict[str, object] = {
        "general.architecture": architecture,
        f"{architecture}.context_length": 8192,
        f"{architecture}.embedding_length": _EMBEDDING,
        f"{architecture}.block_count": 1,
        f"{architecture}.feed_forward_length": _FEED,
        f"{architecture}.attention.head_count": _HEADS,
        f"{architecture}.attention.head_count_kv": _HEADS,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{architecture}.rope.dimension_count": _EMBEDDING // _HEADS,
        **vocabulary,
    }
    if template is not None:
        values["tokenizer.chat_template"] = template
    tensors = _tensors(architecture, tokens)
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)))
    for key, value in values.items():
        out += string(key) + typed(value)
    offset = 0
    for name, shape in tensors.items():
        out += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        offset += _aligned(_size(shape))
    out += bytes(_aligned(len(out)) - len(out))
    for shape in tensors.values():
        out += bytes(_aligned(_size(shape)))
    path.write_bytes(out)


def _tensors(architecture: str, tokens: int) -> dict[str, tuple[int, ...]]:
    square, wide = (_EMBEDDING, _EMBEDDING), (_EMBEDDING, _FEED)
    block: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (_EMBEDDING,),
        "ffn_norm.weight": (_EMBEDDING,),
        "ffn_gate.weight": wide,
        "ffn_up.weight": wide,
        "ffn_down.weight": (_FEED, _EMBEDDING),
        **{f"attn_{part}.weight": square for part in ("q", "k", "v", "output")},
    }
    if architecture == "qwen2":
        block |= {f"attn_{part}.bias": (_EMBEDDING,) for part in ("q", "k", "v")}
    if architecture == "qwen3":
        block |= {f"attn_{part}_norm.weight": (_EMBEDDING // _HEADS,) for part in ("q", "k")}
    whole = {"token_embd.weight": (_EMBEDDING, tokens), "output_norm.weight": (_EMBEDDING,)}
    return whole | {f"blk.0.{name}": shape for name, shape in block.items()}


def typed(value: object) -> bytes:
    if isinstance(value, list):
        items = [struct.pack("<Ii", _I32, item) if isinstance(item, int) else typed(item) for item in value]
        kind = items[0][:4]
        return struct.pack("<I", _ARRAY) + kind + struct.pack("<Q", len(items)) + b"".join(item[4:] for item in items)
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _U32, value)
    if isinstance(value, float):
        return struct.pack("<If", _F32, value)
    assert isinstance(value, str)
    return struct.pack("<I", _STRING) + string(value)


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _size(shape: Sequence[int]) -> int:
    size = 4
    for side in shape:
        size *= side
    return size


def _aligned(size: int) -> int:
    return -(-size // 32) * 32
