"""The distills by their dimensions: beside files as they are written, and beside sizes of published ones."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from hatchling.builders.wheel import WheelBuilder

from backends.gguf.files import read_shape
from backends.gguf.recipes import RECIPES, Dimensions, shape_by_recipe
from backends.gguf.shape import Shape
from presets import families
from presets.families import FILE, quality, quantizations, shape_by_rules
from tests.gguf_files import LLAMA_70B, MODELS, QWEN_7B, Model, sparse_model

MIB, GIB = 1024**2, 1024**3
NAMES = (
    "DeepSeek-R1-Distill-Qwen-1.5B",
    "DeepSeek-R1-Distill-Qwen-7B",
    "DeepSeek-R1-Distill-Llama-8B",
    "DeepSeek-R1-0528-Qwen3-8B",
    "DeepSeek-R1-Distill-Qwen-14B",
    "DeepSeek-R1-Distill-Qwen-32B",
    "DeepSeek-R1-Distill-Llama-70B",
)
# Header and tokenizer, which the rules do not count: from 5.9 MB for Qwen's to 7.9 MB for Llama's.
HEADERS = (5_900_000, 7_900_000)


def known(family: str, quantization: str) -> Shape:
    shape = shape_by_rules(family, quantization)
    assert shape is not None
    return shape


def test_the_models_are_these() -> None:
    assert families.families() == NAMES


@pytest.mark.parametrize("recipe", ["F16", "Q8_0", "Q6_K", "Q4_K_M", "Q3_K_S"])
@pytest.mark.parametrize("model", [*MODELS, QWEN_7B, LLAMA_70B], ids=lambda model: model.name)
def test_a_shape_by_rules_is_that_of_the_file(model: Model, recipe: str, tmp_path: Path) -> None:
    family = model.name.replace(" ", "-")
    path = sparse_model(tmp_path / "model.gguf", model, recipe, small_vocabulary=True)
    of_file = read_shape(path)
    # The list of tokens is shortened in this file; there is no other difference.
    same = msgspec.structs.replace(of_file, parts=(), name=family, chat_template="", vocabulary=model.vocabulary)
    assert known(family, recipe) == same


# bartowski/DeepSeek-R1-Distill-Qwen-7B-GGUF, made with an importance matrix.
QWEN_7B_FILES = {
    "F32": 30_468_419_264, "F16": 15_237_853_152, "Q8_0": 8_098_525_152, "Q6_K_L": 6_518_181_856,
    "Q6_K": 6_254_198_752, "Q5_K_L": 5_781_196_768, "Q5_K_M": 5_444_831_200, "Q5_K_S": 5_315_176_416,
    "Q4_K_L": 5_087_563_744, "Q4_1": 4_873_283_552, "Q4_K_M": 4_683_073_504, "Q3_K_XL": 4_565_331_936,
    "Q4_K_S": 4_457_768_928, "Q4_0": 4_444_121_056, "IQ4_NL": 4_437_813_216, "IQ4_XS": 4_218_472_416,
    "Q3_K_L": 4_088_459_232, "Q3_K_M": 3_808_391_136, "IQ3_M": 3_574_011_872, "Q2_K_L": 3_548_164_064,
    "Q3_K_S": 3_492_368_352, "IQ3_XS": 3_346_255_840, "Q2_K": 3_015_940_064, "IQ2_M": 2_780_342_240,
}  # fmt: skip
# unsloth/DeepSeek-R1-0528-Qwen3-8B-GGUF.
QWEN3_8B_FILES = {
    "BF16": 16_388_045_056, "Q8_0": 8_709_519_872, "Q6_K": 6_725_900_800, "Q5_K_M": 5_851_113_984,
    "Q5_K_S": 5_720_762_880, "Q4_1": 5_247_756_800, "Q4_K_M": 5_027_785_216, "Q4_K_S": 4_802_013_696,
    "IQ4_NL": 4_793_625_088, "Q4_0": 4_787_333_632, "Q3_K_M": 4_124_162_560, "Q3_K_S": 3_769_612_800,
    "Q2_K": 3_281_734_144,
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "files"),
    [("DeepSeek-R1-Distill-Qwen-7B", QWEN_7B_FILES), ("DeepSeek-R1-0528-Qwen3-8B", QWEN3_8B_FILES)],
)
def test_published_files_are_the_weights_and_always_the_same_header(family: str, files: dict[str, int]) -> None:
    headers = [size - known(family, name).weight_bytes for name, size in files.items()]
    # The metadata of a quantised file is some hundred bytes longer.
    assert max(headers) - min(headers) < 512
    assert HEADERS[0] < min(headers) <= max(headers) < HEADERS[1]


def test_a_publisher_who_keeps_the_embedding_better_is_within_a_percent() -> None:
    # unsloth's IQ4_XS has it in q4_K.
    assert known("DeepSeek-R1-0528-Qwen3-8B", "IQ4_XS").weight_bytes == pytest.approx(4_581_288_448, rel=0.01)


# GB to two decimals: bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF, made by a llama.cpp of January 2025.
QWEN_32B_FILES = {
    "BF16": 65.54, "Q8_0": 34.82, "Q6_K_L": 27.26, "Q6_K": 26.89, "Q5_K_L": 23.74, "Q5_K_M": 23.26, "Q5_K_S": 22.64,
    "Q4_1": 20.64, "Q4_K_L": 20.43, "Q4_K_M": 19.85, "Q4_K_S": 18.78, "Q4_0": 18.71, "IQ4_NL": 18.68,
    "Q3_K_XL": 17.93, "IQ4_XS": 17.69, "Q3_K_L": 17.25, "Q3_K_M": 15.94, "IQ3_M": 14.81, "Q3_K_S": 14.39,
    "IQ3_XS": 13.71, "Q2_K_L": 13.07, "Q2_K": 12.31, "IQ2_M": 11.26, "IQ2_S": 10.39, "IQ2_XS": 9.96, "IQ2_XXS": 9.03,
}  # fmt: skip
OTHER_FILES = [
    ("DeepSeek-R1-Distill-Qwen-32B", "IQ3_XXS", 12.8),
    ("DeepSeek-R1-Distill-Qwen-1.5B", "IQ4_XS", 1.02),
    ("DeepSeek-R1-Distill-Llama-8B", "Q4_K_M", 4.92),
    ("DeepSeek-R1-Distill-Llama-8B", "Q3_K_S", 3.66),
    ("DeepSeek-R1-Distill-Qwen-14B", "Q4_K_M", 8.99),
    ("DeepSeek-R1-Distill-Qwen-14B", "Q3_K_S", 6.66),
]


@pytest.mark.parametrize(
    ("family", "name", "gigabytes"),
    [*((NAMES[5], name, size) for name, size in QWEN_32B_FILES.items()), *OTHER_FILES],
)
def test_published_sizes(family: str, name: str, gigabytes: float) -> None:
    smallest, largest = (known(family, name).weight_bytes + header for header in HEADERS)
    digits = 1 if gigabytes == 12.8 else 2
    half = 10**9 // 10**digits // 2
    assert smallest - half <= gigabytes * 1e9 <= largest + half


# MiB: featherless-ai-quants/deepseek-ai-DeepSeek-R1-Distill-Qwen-14B-GGUF, made without an importance matrix.
QWEN_14B_FILES = {
    "Q8_0": 14974.21, "Q6_K": 11563.00, "Q5_K_M": 10022.04, "Q5_K_S": 9790.95, "Q4_K_M": 8571.73, "Q4_K_S": 8176.26,
    "IQ4_XS": 7806.96, "Q3_K_L": 7557.65, "Q3_K_M": 6999.21, "Q3_K_S": 6351.09, "Q2_K": 5503.17,
}  # fmt: skip


@pytest.mark.parametrize("name", QWEN_14B_FILES)
def test_files_made_without_an_importance_matrix(name: str) -> None:
    shape = shape_by_recipe(_dimensions("DeepSeek-R1-Distill-Qwen-14B"), "14B", name, importance=False)
    assert shape is not None
    assert HEADERS[0] < QWEN_14B_FILES[name] * MIB - shape.weight_bytes < HEADERS[1]


# GiB: llama.cpp's own table for Llama 3 8B, which is the distill without factors for long contexts.
LLAMA_3_FILES = {
    "F16": 14.97, "Q8_0": 7.96, "Q6_K": 6.14, "Q5_1": 5.65, "Q4_1": 4.78, "Q4_K_M": 4.58, "IQ4_XS": 4.14,
    "IQ3_M": 3.53, "IQ3_S": 3.42, "Q3_K_S": 3.41, "IQ3_XS": 3.28, "IQ3_XXS": 3.05, "Q2_K": 2.96, "IQ2_M": 2.74,
    "IQ2_S": 2.56, "IQ2_XS": 2.43, "IQ2_XXS": 2.24, "IQ1_M": 2.01, "IQ1_S": 1.88,
}  # fmt: skip


@pytest.mark.parametrize("name", LLAMA_3_FILES)
def test_sizes_in_the_table_from_which_the_quality_is(name: str) -> None:
    llama_3 = msgspec.structs.replace(_dimensions("DeepSeek-R1-Distill-Llama-8B"), rope_factors=False)
    shape = shape_by_recipe(llama_3, "Llama 3", name)
    assert shape is not None
    assert shape.weight_bytes / GIB == pytest.approx(LLAMA_3_FILES[name], rel=0.007)


def _dimensions(family: str) -> Dimensions:
    return families._table().families[family]


def test_a_family_is_found_in_any_case_and_with_its_owner() -> None:
    shape = known("DeepSeek-R1-Distill-Qwen-14B", "Q3_K_S")
    assert shape_by_rules("deepseek-ai/deepseek-r1-distill-qwen-14b", "q3_k_s") is shape
    assert quantizations(" deepseek-ai/DEEPSEEK-R1-Distill-Qwen-14B") == quantizations("DeepSeek-R1-Distill-Qwen-14B")


@pytest.mark.parametrize(
    ("family", "quantization"),
    [
        ("", ""),
        ("SmolLM2-135M-Instruct", "Q4_K_M"),
        ("DeepSeek-R1-Distill-Qwen", "Q4_K_M"),
        ("DeepSeek-R1-Distill-Qwen-14B", ""),
        ("DeepSeek-R1-Distill-Qwen-14B", "3.5bpw"),
        ("DeepSeek-R1-Distill-Qwen-14B", "UD-Q4_K_XL"),
    ],
)
def test_what_nobody_knows_has_no_shape(family: str, quantization: str) -> None:
    assert shape_by_rules(family, quantization) is None


def test_a_model_that_nobody_knows_has_no_quantisations() -> None:
    assert quantizations("SmolLM2-135M-Instruct") == ()


@pytest.mark.parametrize("family", NAMES)
def test_quantisations_come_from_the_largest_file_to_the_smallest(family: str) -> None:
    names = quantizations(family)
    sizes = [known(family, name).weight_bytes for name in names]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(names)) == len(names) >= 7


def test_quality_is_published_for_what_is_offered_and_for_nothing_made_up() -> None:
    for_others = {"F16", "BF16", "Q6_K_L", "Q5_K_L", "Q4_K_L", "Q3_K_XL", "Q2_K_L"}
    offered = {name for family in NAMES for name in quantizations(family)}
    assert {name for name in offered if quality(name) is None} == for_others
    table = families._table().quality
    assert table.with_matrix.keys() | table.without_matrix.keys() <= RECIPES.keys()


def test_quality_says_where_it_is_from() -> None:
    found = quality("q3_k_s")
    assert found is not None
    assert (found.kld, found.probability_error, found.importance_matrix) == (0.199821, 0.1498, True)
    assert "Llama 3 8B" in found.source
    assert not any(one.importance_matrix for one in map(quality, ["Q8_0", "Q6_K", "Q4_0"]) if one)
    assert quality("3.5bpw") is None


def test_smaller_files_of_the_same_kind_lose_more() -> None:
    for kind in (["Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"], ["IQ4_NL", "IQ4_XS", "IQ3_M", "IQ3_XS"]):
        lost = [found.kld for found in map(quality, kind) if found]
        assert len(lost) == len(kind)
        assert lost == sorted(lost)


def test_a_shape_takes_no_time() -> None:
    best = min(_seconds_for("DeepSeek-R1-Distill-Qwen-32B", "Q4_K_M") for _ in range(10))
    assert best < 0.005


def _seconds_for(family: str, quantization: str) -> float:
    families._shape.cache_clear()
    start = time.perf_counter()
    known(family, quantization)
    return time.perf_counter() - start


def test_the_table_is_packed_into_the_wheel() -> None:
    builder = WheelBuilder(str(FILE.parent.parent))
    assert "presets/families.toml" in {included.distribution_path for included in builder.recurse_included_files()}
