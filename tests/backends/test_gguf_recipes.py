"""The types that tensors get by the rules: beside those that the engine itself chooses, tensor by tensor."""

from __future__ import annotations

import ctypes
import functools
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.gguf.recipes import RECIPES, Dimensions, Recipe, shape_by_recipe, tensors_by_rules
from backends.llama_cpp import binding
from tests.gguf_files import LLAMA_70B, MODELS, QWEN_7B, QWEN_14B, Model, sparse_model

MIB = 1024**2
_Q8_0 = 8
_TENSOR = re.compile(r"\[ *\d+/ *\d+\] (\S+) +- \[.*\], type = +(\w+), size = .*?(?:\((\w+)\))?$")
_TOTAL = re.compile(r"quant size += +([\d.]+) MiB")
# llama.cpp takes anything of 80 layers for a 70B if it is a Qwen2.
QWEN_80 = Model("a Qwen2 of 80 layers", "qwen2", 80, 512, 1024, 8, 8, 1000)
EVERY = (
    *MODELS,
    QWEN_7B,
    LLAMA_70B,
    QWEN_80,
    replace(QWEN_80, name="a Llama that shares nothing", architecture="llama"),
)


def dimensions(model: Model) -> Dimensions:
    return Dimensions(
        architecture=model.architecture,  # type: ignore[arg-type]
        layers=model.layers,
        hidden=model.hidden,
        feed_forward=model.feed_forward,
        heads=model.heads,
        kv_heads=model.kv_heads,
        head=model.head,
        vocabulary=model.vocabulary,
        context_length=model.context,
        tied=model.tied,
        rope_factors=model.architecture == "llama",
    )


def engines_choice(path: Path, recipe: Recipe, *, importance: bool) -> tuple[dict[str, str], float]:
    """Let the engine say what it would do: the type of each tensor by name, and the sum in MiB to two decimals."""
    lib = binding.library()
    log: list[bytes] = []
    callback = lib.llama_log_callback(lambda _level, text, _data: log.append(text))
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.dry_run, params.nthread = recipe.file_type, True, 1
    if recipe.ends == "q8_0":
        params.token_embedding_type = params.output_tensor_type = _Q8_0
    weight = (ctypes.c_float * 1)(1.0)
    entries = (lib.llama_model_imatrix_data * 2)()  # the second, empty, ends the list
    entries[0].name, entries[0].size = b"blk.0.attn_q.weight", 1
    entries[0].data = ctypes.cast(weight, ctypes.POINTER(ctypes.c_float))
    if importance:
        params.imatrix = entries
    lib.llama_log_set(callback, None)
    try:
        failed = lib.llama_model_quantize(bytes(path), b"/nowhere", ctypes.byref(params))
    finally:
        lib.llama_log_set(binding._Loaded.callback, None)
    told = b"".join(log).decode()
    assert not failed, told[-1000:]
    found = filter(None, map(_TENSOR.match, told.splitlines()))
    total = _TOTAL.search(told)
    assert total is not None
    return {one[1]: one[3] or one[2] for one in found}, float(total[1])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.mark.parametrize("importance", [True, False], ids=["with a matrix", "without"])
@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.name)
def test_every_recipe_gives_each_tensor_the_engines_type(model: Model, importance: bool, files: Path) -> None:
    path = sparse_model(files / "model.gguf", model, "F16", small_vocabulary=True)
    for name, recipe in RECIPES.items():
        ours = tensors_by_rules(dimensions(model), recipe, importance=importance)
        types, mib = engines_choice(path, recipe, importance=importance)
        assert {one.name: one.type_name for one in ours} == types, name
        assert sum(one.size or 0 for one in ours) / MIB == pytest.approx(mib, abs=0.006), name


@st.composite
def models(draw: st.DrawFn) -> Model:
    kv_heads = draw(st.integers(1, 4))
    rows = st.integers(1, 40).map(lambda blocks: 32 * blocks)
    return Model(
        "any",
        draw(st.sampled_from(["llama", "qwen2", "qwen3"])),
        layers=draw(st.integers(1, 40)),
        hidden=draw(rows),
        feed_forward=draw(rows),
        heads=kv_heads * draw(st.integers(1, 9)),
        kv_heads=kv_heads,
        vocabulary=600,
        head=draw(st.sampled_from([32, 64, 96, 128])),
        tied=draw(st.booleans()),
    )


@given(model=models(), name=st.sampled_from(sorted(RECIPES)), importance=st.booleans())
def test_the_rules_hold_for_models_of_any_dimensions(model: Model, name: str, importance: bool, files: Path) -> None:
    path = sparse_model(files / "any.gguf", model, "F16", small_vocabulary=True)
    ours = tensors_by_rules(dimensions(model), RECIPES[name], importance=importance)
    types, _ = engines_choice(path, RECIPES[name], importance=importance)
    assert {one.name: one.type_name for one in ours} == types


def test_an_importance_matrix_saves_the_first_layers_from_more_bits() -> None:
    of = functools.partial(shape_by_recipe, dimensions(QWEN_14B), "14B", "IQ4_XS")
    with_matrix, without = of(importance=True), of(importance=False)
    assert with_matrix is not None
    assert without is not None
    larger = [one.bytes < other.bytes for one, other in zip(with_matrix.blocks, without.blocks, strict=True)]
    assert larger == [True] * 6 + [False] * 42


def test_a_shape_by_rules_has_no_file() -> None:
    shape = shape_by_recipe(dimensions(QWEN_14B), "14B", "Q4_K_L")
    assert shape is not None
    assert (shape.parts, shape.file_bytes, shape.key, shape.chat_template) == ((), None, "", "")
    # Its file says Q4_K_M (15) of itself; its name does not.
    assert (shape.name, shape.quantization, shape.file_type) == ("14B", "Q4_K_L", 15)
    assert (shape.layers, shape.dominant_type, shape.unknown_types) == (48, "q4_K", 0)


def test_a_tied_model_has_its_embedding_as_output_layer() -> None:
    shape = shape_by_recipe(dimensions(replace(QWEN_14B, tied=True)), "tied", "Q4_K_M")
    assert shape is not None
    assert shape.output_is_embedding
    # As q6_K: 210 bytes for 256 weights.
    assert shape.embedding_bytes == 5120 * 152_064 // 256 * 210


@pytest.mark.parametrize("name", ["", "Q4_K_XL", "q4_k_m", "4 bits", "MXFP4_MOE"])
def test_a_recipe_that_nobody_knows_has_no_shape(name: str) -> None:
    assert shape_by_recipe(dimensions(QWEN_14B), "14B", name) is None
