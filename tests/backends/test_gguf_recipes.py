"""The types that tensors get by the rules: beside those that the engine itself chooses, tensor by tensor."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.gguf.recipes import RECIPES, Recipe, shape_by_recipe, tensors_by_rules
from tests.backends.any_model import dimensions, models
from tests.backends.engine_quantiser import Said, quantise
from tests.gguf_files import LLAMA_70B, MODELS, QWEN_7B, QWEN_14B, QWEN_80, Model, sparse_model

MIB = 1024**2
EVERY = (
    *MODELS,
    QWEN_7B,
    LLAMA_70B,
    QWEN_80,
    replace(QWEN_80, name="a Llama that shares nothing", architecture="llama"),
)


def engines_choice(path: Path, recipe: Recipe, *, importance: bool) -> Said:
    """Let the engine say what it would do."""
    return quantise(path, None, recipe.file_type, ends=recipe.ends, importance=importance)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.mark.parametrize("importance", [True, False], ids=["with a matrix", "without"])
@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.name)
def test_every_recipe_gives_each_tensor_the_engines_type(model: Model, importance: bool, files: Path) -> None:
    path = sparse_model(files / "model.gguf", model, "F16", small_vocabulary=True)
    for name, recipe in RECIPES.items():
        ours = tensors_by_rules(dimensions(model), recipe, importance=importance)
        said = engines_choice(path, recipe, importance=importance)
        assert {one.name: one.type_name for one in ours} == said.types, name
        assert sum(one.size or 0 for one in ours) / MIB == pytest.approx(said.mib, abs=0.006), name


@given(model=models(), name=st.sampled_from(sorted(RECIPES)), importance=st.booleans())
def test_the_rules_hold_for_models_of_any_dimensions(model: Model, name: str, importance: bool, files: Path) -> None:
    path = sparse_model(files / "any.gguf", model, "F16", small_vocabulary=True)
    ours = tensors_by_rules(dimensions(model), RECIPES[name], importance=importance)
    said = engines_choice(path, RECIPES[name], importance=importance)
    assert {one.name: one.type_name for one in ours} == said.types


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
