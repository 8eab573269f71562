"""The shape of a model from its header: beside what llama.cpp reads, and beside published figures."""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.gguf.files import read_shape
from backends.gguf.problems import BadGguf
from backends.gguf.reader import read_header
from backends.gguf.shape import Shape
from backends.gguf.source import FileBytes
from backends.gguf.tensors import TYPES
from backends.llama_cpp import binding
from backends.llama_cpp.offload import shape_by_engine
from tests.gguf_files import (
    LLAMA_8B,
    MODELS,
    QWEN3_8B,
    QWEN_14B,
    QWEN_32B,
    Model,
    model_tensors,
    sparse_model,
    write_gguf,
)

MIB = 1024**2
U32, BOOL, TEXT, LIST, I32 = 4, 7, 8, 9, 5
F32, Q4_K = 0, 12


def in_numbers(shape: Shape) -> dict[str, object]:
    """What the engine tells of a model too. Of its tensors it tells only the sum: `type_bytes` here."""
    told = ("layers", "hidden", "feed_forward", "heads", "key_length", "value_length", "vocabulary", "context_length")
    numbers = {name: getattr(shape, name) for name in (*told, "architecture", "parameters")}
    weights = sum(size for _, size in shape.type_bytes)
    return numbers | {"kv_heads": shape.blocks[0].kv_heads, "weights": weights}


def by_engine(path: Path) -> dict[str, object]:
    return in_numbers(shape_by_engine(binding.library(), path))


@pytest.fixture(scope="module")
def ggml() -> Any:
    """The engine's own library of types and files, which its binding does not reach."""
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    return ctypes.CDLL(str(next((Path(spec.origin).parent / "lib").glob("libggml-base.*"))))


def test_types_are_those_of_the_engine(ggml: Any) -> None:
    ggml.ggml_type_name.restype = ctypes.c_char_p
    ggml.ggml_blck_size.restype = ctypes.c_int64
    ggml.ggml_type_size.restype = ctypes.c_size_t
    count = binding.library().GGML_TYPE_COUNT
    engines = {
        number: (ggml.ggml_type_name(number).decode(), ggml.ggml_blck_size(number), ggml.ggml_type_size(number))
        for number in range(count)
        if ggml.ggml_blck_size(number)
    }
    assert {number: (one.name, one.block, one.block_bytes) for number, one in TYPES.items()} == engines


def test_the_starter_model_is_what_llama_cpp_says(starter_gguf: Path) -> None:
    shape = read_shape(starter_gguf)
    assert in_numbers(shape) == by_engine(starter_gguf)
    assert shape.file_bytes == starter_gguf.stat().st_size
    assert (shape.architecture, shape.heads, shape.context_length) == ("llama", 9, 8192)
    assert (shape.quantization, shape.dominant_type, shape.file_type) == ("Q4_1", "q4_1", 3)
    assert shape.chat_template.startswith("{% for message in messages %}")
    assert shape.output_is_embedding
    assert shape.card_output_bytes == shape.embedding_bytes + 576 * 4


def test_every_tensor_lies_where_the_engine_finds_it(starter_gguf: Path, ggml: Any) -> None:
    class Params(ctypes.Structure):
        _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))

    ggml.gguf_init_from_file.restype = ctypes.c_void_p
    ggml.gguf_init_from_file.argtypes = (ctypes.c_char_p, Params)
    for name, result, arguments in (
        ("gguf_get_n_tensors", ctypes.c_int64, (ctypes.c_void_p,)),
        ("gguf_get_data_offset", ctypes.c_size_t, (ctypes.c_void_p,)),
        ("gguf_get_tensor_name", ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_int64)),
        ("gguf_get_tensor_offset", ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_int64)),
        ("gguf_get_tensor_size", ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_int64)),
        ("gguf_free", None, (ctypes.c_void_p,)),
    ):
        function = getattr(ggml, name)
        function.restype, function.argtypes = result, arguments
    context = ggml.gguf_init_from_file(str(starter_gguf).encode(), Params(no_alloc=True, ctx=None))
    engines = [
        (
            ggml.gguf_get_tensor_name(context, number).decode(),
            ggml.gguf_get_tensor_offset(context, number),
            ggml.gguf_get_tensor_size(context, number),
        )
        for number in range(ggml.gguf_get_n_tensors(context))
    ]
    data_offset = ggml.gguf_get_data_offset(context)
    ggml.gguf_free(context)
    with FileBytes(starter_gguf) as source:
        header = read_header(source, "starter")
    assert [(tensor.name, tensor.offset, tensor.size) for tensor in header.tensors] == engines
    assert header.data_offset == data_offset


@pytest.mark.parametrize("recipe", ["Q4_K_M", "Q3_K_S"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_engine_reads_the_same_from_every_shape(model: Model, recipe: str, tmp_path: Path) -> None:
    path = sparse_model(tmp_path / "model.gguf", replace(model, vocabulary=512, merges=100), recipe)
    assert in_numbers(read_shape(path)) == by_engine(path)
    assert read_shape(path).quantization == recipe


# Means, least and largest MiB of a layer, output and embedding, from facts about the published files.
@pytest.mark.parametrize(
    ("model", "mean", "least", "most", "output", "embedding"),
    [(LLAMA_8B, 125, 117, 132, 411, 282), (QWEN_14B, 157, 148, 166, 609, 418), (QWEN_32B, 280, 262, 298, 609, 418)],
    ids=["8b", "14b", "32b"],
)
def test_bytes_of_the_published_q4_k_m_files(
    model: Model, mean: int, least: int, most: int, output: int, embedding: int, tmp_path: Path
) -> None:
    shape = read_shape(sparse_model(tmp_path / "model.gguf", model, small_vocabulary=True))
    blocks = [block.bytes / MIB for block in shape.blocks]
    assert (round(sum(blocks) / len(blocks)), round(min(blocks)), round(max(blocks))) == (mean, least, most)
    assert (round(shape.output_bytes / MIB), round(shape.embedding_bytes / MIB)) == (output, embedding)


@pytest.mark.parametrize(
    ("model", "recipe", "gigabytes"),
    [
        (LLAMA_8B, "Q4_K_M", 4.92), (LLAMA_8B, "Q3_K_S", 3.66),
        (QWEN3_8B, "Q4_K_M", 5.03), (QWEN_14B, "Q4_K_M", 8.99), (QWEN_14B, "Q3_K_S", 6.66),
        (QWEN_32B, "Q4_K_M", 19.9), (QWEN_32B, "Q3_K_S", 14.4),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)  # fmt: skip
def test_a_written_shape_is_as_large_as_the_published_file(
    model: Model, recipe: str, gigabytes: float, tmp_path: Path
) -> None:
    shape = read_shape(sparse_model(tmp_path / "model.gguf", model, recipe, small_vocabulary=True))
    assert shape.weight_bytes / 1e9 == pytest.approx(gigabytes, rel=0.006)


def test_a_layer_of_the_14b_in_q3_k_s_and_the_parts_of_the_sum(tmp_path: Path) -> None:
    shape = read_shape(sparse_model(tmp_path / "model.gguf", QWEN_14B, "Q3_K_S", small_vocabulary=True))
    assert {round(block.bytes / MIB) for block in shape.blocks} == {113}
    assert round(shape.output_bytes / MIB) == 609
    assert sum(size for _, size in shape.type_bytes) == shape.weight_bytes
    assert [name for name, _ in shape.type_bytes] == ["q3_K", "q6_K", "f32"]
    assert shape.weight_bytes < shape.file_bytes < shape.weight_bytes + 10**6


def test_larger_layers_of_a_mixed_recipe_are_told_apart(tmp_path: Path) -> None:
    types = {name: Q4_K for name in model_tensors(QWEN_32B, "Q3_K_S") if name.endswith("ffn_up.weight")}
    types = {name: kind for name, kind in types.items() if int(name.split(".")[1]) < 20}
    shape = read_shape(sparse_model(tmp_path / "model.gguf", QWEN_32B, "Q3_K_S", types=types, small_vocabulary=True))
    more = 5120 * 27_648 // 256 * (144 - 110)
    assert {block.bytes - shape.blocks[-1].bytes for block in shape.blocks[:20]} == {more}
    assert len({block.bytes for block in shape.blocks[20:]}) == 1
    assert shape.dominant_type == "q3_K"


def test_rope_factors_of_a_llama_belong_to_no_layer(tmp_path: Path) -> None:
    shape = read_shape(sparse_model(tmp_path / "model.gguf", LLAMA_8B, small_vocabulary=True))
    assert shape.other_bytes == 64 * 4


def small(arch: str, **facts: tuple[int, Any]) -> dict[str, tuple[int, Any]]:
    """Metadata of a model of two layers. Keyword `a__b` is the key `a.b` under the architecture."""
    metadata: dict[str, tuple[int, Any]] = {
        "general.architecture": (TEXT, arch),
        f"{arch}.block_count": (U32, 2),
        f"{arch}.embedding_length": (U32, 256),
        f"{arch}.attention.head_count": (U32, 4),
    }
    return metadata | {f"{arch}.{key.replace('__', '.')}": value for key, value in facts.items()}


TWO_LAYERS: dict[str, tuple[int, tuple[int, ...]]] = {
    "token_embd.weight": (F32, (256, 10)),
    "blk.0.attn_q.weight": (F32, (256, 4)),
    "blk.1.attn_q.weight": (F32, (256, 8)),
    "output_norm.weight": (F32, (256,)),
}


def test_what_a_file_does_not_say_is_none_and_what_follows_is_taken(tmp_path: Path) -> None:
    shape = read_shape(write_gguf(tmp_path / "m.gguf", small("gemma"), TWO_LAYERS))
    assert (shape.feed_forward, shape.context_length, shape.file_type, shape.sliding_window) == (None,) * 4
    assert (shape.key_length, shape.value_length, shape.vocabulary) == (64, 64, 10)
    assert [block.kv_heads for block in shape.blocks] == [4, 4]
    assert [block.bytes for block in shape.blocks] == [4096, 8192]
    assert (shape.quantization, shape.dominant_type, shape.output_is_embedding) == ("", "f32", True)


def test_heads_that_differ_by_layer_and_a_window(tmp_path: Path) -> None:
    facts = small(
        "gemma4",
        attention__head_count_kv=(LIST, (I32, [2, 0])),
        feed_forward_length=(LIST, (I32, [512, 1024])),
        attention__sliding_window=(U32, 1024),
        attention__key_length=(U32, 96),
    )
    shape = read_shape(write_gguf(tmp_path / "m.gguf", facts, TWO_LAYERS))
    assert [block.kv_heads for block in shape.blocks] == [2, 0]
    assert (shape.feed_forward, shape.sliding_window, shape.key_length, shape.value_length) == (1024, 1024, 96, 64)


def test_experts_are_counted_apart_and_latent_attention_is_told(tmp_path: Path) -> None:
    facts = small(
        "deepseek2",
        expert_count=(U32, 4),
        expert_used_count=(U32, 2),
        attention__head_count_kv=(U32, 1),
        attention__key_length=(U32, 576),
        attention__value_length=(U32, 512),
        attention__key_length_mla=(U32, 192),
        attention__value_length_mla=(U32, 128),
    )
    tensors = TWO_LAYERS | {
        "blk.1.ffn_gate_exps.weight": (Q4_K, (256, 16, 4)),
        "blk.1.ffn_up.3.weight": (F32, (256, 2)),
        "blk.1.ffn_gate_shexp.weight": (F32, (256, 1)),
        "blk.1.ffn_gate_inp.weight": (F32, (256, 4)),
    }
    shape = read_shape(write_gguf(tmp_path / "m.gguf", facts, tensors))
    assert (shape.experts, shape.experts_used, shape.latent_attention) == (4, 2, True)
    assert (shape.key_length, shape.value_length, shape.blocks[1].kv_heads) == (576, 512, 1)
    assert shape.blocks[0].expert_bytes == 0
    assert shape.blocks[1].expert_bytes == 16 * 4 * 144 + 2048
    assert shape.blocks[1].bytes == shape.blocks[1].expert_bytes + 8192 + 1024 + 4096


def test_text_from_the_file_cannot_steer_a_terminal(tmp_path: Path) -> None:
    facts = small("gemma") | {"general.name": (TEXT, "a\x1b[2Jb\u202e")}
    assert read_shape(write_gguf(tmp_path / "m.gguf", facts, TWO_LAYERS)).name == "a\\x1b[2Jb\\u202e"


@pytest.mark.parametrize(
    ("metadata", "tensors", "says"),
    [
        ({"general.type": (TEXT, "adapter")}, TWO_LAYERS, "it holds something else: adapter"),
        ({"general.architecture": (TEXT, "")}, TWO_LAYERS, "general.architecture is missing"),
        ({}, {}, "it holds no weights"),
        ({"gemma.block_count": (U32, 0)}, TWO_LAYERS, "gemma.block_count is missing"),
        ({"gemma.block_count": (TEXT, "2")}, TWO_LAYERS, "gemma.block_count is missing"),
        ({"gemma.block_count": (BOOL, True)}, TWO_LAYERS, "gemma.block_count is missing"),
        ({"gemma.block_count": (U32, 2**32 - 1)}, TWO_LAYERS, "it claims 4294967295 layers"),
        ({"gemma.attention.head_count_kv": (LIST, (I32, [-1, 2]))}, TWO_LAYERS, "no list of numbers by layer"),
        ({"gemma.attention.head_count": (LIST, (TEXT, ["4"]))}, TWO_LAYERS, "no list of numbers by layer"),
    ],
)
def test_what_is_no_language_model_is_refused(
    metadata: dict[str, tuple[int, Any]], tensors: dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "m.gguf", small("gemma") | metadata, tensors)
    with pytest.raises(BadGguf, match=says) as caught:
        read_shape(path)
    assert caught.value.file == "m.gguf"
    assert caught.value.hint
