"""What a mix makes of a model: beside what the engine itself would make of it, tensor by tensor and to the byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.errors import BackendError
from backends.gguf.files import read_headers, read_shape
from backends.gguf.mix_rules import MATRICES, NEED_IMPORTANCE, TYPES, layers_in
from backends.gguf.mixes import Choice, Mix, Rule
from backends.gguf.mixing import (
    fallbacks,
    file_type_of,
    idle_rules,
    recipe_text,
    requantized,
    shape_by_mix,
    shape_of_mix,
    size_of,
    types_by_rules,
    types_of,
)
from backends.gguf.reader import Header
from backends.gguf.recipes import RECIPES
from backends.gguf.shape import RECIPE_KEY
from presets.recipes import BASES, find_recipe, load_recipes
from tests.backends.any_model import dimensions, models
from tests.backends.engine_quantiser import quantise
from tests.gguf_files import MODELS, QWEN_32B, QWEN_80, Model, model_tensors, sparse_model, write_gguf

MIB = 1024**2
MIXES = {entry.mix.name: entry.mix for entry in load_recipes(Path("/nowhere")).entries}
MIXED = MIXES["mixed-4-3"]
SMALL = Model("a small one", "qwen2", 3, 512, 1024, 8, 2, 600)


def headers(path: Path) -> list[Header]:
    return list(read_headers(path).values())


def made(mix: Mix, path: Path, *, importance: bool = False) -> tuple[Choice, ...]:
    return types_of(mix, headers(path), importance=importance)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize("model", [*MODELS, QWEN_80], ids=lambda model: model.name)
def test_each_mix_gives_each_tensor_the_type_that_the_engine_gives_it(model: Model, name: str, files: Path) -> None:
    path = sparse_model(files / "model.gguf", model, "F16", small_vocabulary=True)
    choices = made(MIXES[name], path)
    said = quantise(path, None, file_type_of(MIXES[name]), choices=choices)
    assert {one.name: one.after for one in choices} == said.types
    assert sum(one.after_bytes for one in choices) / MIB == pytest.approx(said.mib, abs=0.006)
    # Nothing was left to the engine, and nothing that it was told had to give way.
    assert "falling back" not in said.text
    assert shape_of_mix(MIXES[name], headers(path), choices).weight_bytes == sum(one.after_bytes for one in choices)


def test_a_mix_without_rules_is_the_recipe_of_the_engine(files: Path) -> None:
    path = sparse_model(files / "plain.gguf", QWEN_80, "F16", small_vocabulary=True)
    for base in BASES:
        mix = find_recipe(base)
        said = quantise(path, None, file_type_of(mix), ends=RECIPES[base].ends, importance=True)
        assert {one.name: one.after for one in made(mix, path, importance=True)} == said.types, base


def test_what_the_mixes_of_the_article_come_to_for_the_32b() -> None:
    shapes = {name: shape_by_mix(mix, dimensions(QWEN_32B), name) for name, mix in MIXES.items()}
    assert {name: round(shape.weight_bytes / 1e9, 2) for name, shape in shapes.items()} == {
        "attention-4": 14.92,
        "mixed-3-4": 15.68,
        "mixed-4-3": 15.68,
    }
    larger, smaller = shapes["mixed-4-3"].blocks, shapes["mixed-3-4"].blocks
    assert [block.bytes for block in larger] == [block.bytes for block in reversed(smaller)]
    assert len({block.bytes for block in larger[:20]}) == len({block.bytes for block in larger[20:]}) == 1
    assert larger[0].bytes > larger[63].bytes
    assert shapes["mixed-4-3"].bits_per_weight == pytest.approx(3.83, abs=0.005)
    assert (shapes["mixed-4-3"].quantization, shapes["mixed-4-3"].parts) == ("mixed-4-3", ())


def test_the_first_twenty_layers_are_four_bits_and_the_rest_three() -> None:
    choices = types_by_rules(MIXED, dimensions(QWEN_32B), importance=False)
    matrices = {one.name: one.after for one in choices if one.name.startswith("blk.") and one.why != "kept"}
    assert len(matrices) == 64 * 7
    four = {f"blk.{layer}.{name}.weight" for layer in range(20) for name in MATRICES}
    assert {name for name, kind in matrices.items() if kind == "q4_K"} == four
    assert {kind for name, kind in matrices.items() if name not in four} == {"q3_K"}


@st.composite
def mixes(draw: st.DrawFn) -> Mix:
    kinds = st.sampled_from(TYPES)
    ends = st.sampled_from(["", *(kind for kind in TYPES if kind not in NEED_IMPORTANCE)])
    patterns = st.sampled_from([*MATRICES, "*", "attn_*", "ffn_*", "ffn_?ate", "*_k"])
    some = st.integers(0, 12)
    ranges = st.one_of(
        st.just(""),
        some.map(str),
        some.map("{}-".format),
        some.map("-{}".format),
        st.tuples(some, some).map(lambda two: f"{min(two)}-{max(two)}"),
        st.tuples(st.integers(0, 99), st.integers(1, 50)).map(lambda two: f"{two[0]}%-{min(100, sum(two))}%"),
    )
    rules = st.builds(Rule, st.lists(patterns, min_size=1, max_size=3).map(tuple), kinds, ranges)
    return Mix(
        "any", "Any", draw(st.sampled_from(BASES)), tuple(draw(st.lists(rules, max_size=5))), draw(ends), draw(ends)
    )


@given(model=models(), mix=mixes())
@settings(deadline=None)
def test_any_rules_for_any_model_agree_with_the_engine(model: Model, mix: Mix, files: Path) -> None:
    path = sparse_model(files / "any.gguf", model, "F16", small_vocabulary=True)
    choices = made(mix, path, importance=True)
    said = quantise(path, None, file_type_of(mix), choices=choices, importance=True)
    assert {one.name: one.after for one in choices} == said.types
    assert "falling back" not in said.text
    by_rules = {one.name: one.after for one in types_by_rules(mix, dimensions(model), importance=True)}
    assert by_rules == {one.name: one.after for one in choices}


@given(mix=mixes(), layers=st.integers(1, 9), tied=st.booleans())
@settings(max_examples=12, deadline=None)  # it writes a file each time
def test_the_size_is_known_to_the_byte(mix: Mix, layers: int, tied: bool, files: Path) -> None:
    importance = [kind for kind in NEED_IMPORTANCE if any(kind == rule.type for rule in mix.rules)]
    mix = msgspec.structs.replace(mix, base="Q4_K_S" if mix.base.startswith(("IQ1", "IQ2", "IQ3", "Q2")) else mix.base)
    mix = msgspec.structs.replace(mix, rules=tuple(rule for rule in mix.rules if rule.type not in importance))
    model = replace(SMALL, layers=layers, tied=tied)
    source, target = files / "source.gguf", files / "target.gguf"
    sparse_model(source, model, "F16", small_vocabulary=True)
    choices = made(mix, source)
    written = {RECIPE_KEY: recipe_text(mix)}
    quantise(source, target, file_type_of(mix), choices=choices, written=written)
    assert target.stat().st_size == size_of(choices, headers(source), written)
    (header,) = headers(target)
    assert {one.name: one.type_name for one in header.tensors} == {one.name: one.after for one in choices}
    foretold = shape_of_mix(mix, headers(source), choices)
    # The engine sorts the tensors, which decides between types of as many bytes.
    types = {"type_bytes": tuple(sorted(foretold.type_bytes))}
    came = read_shape(target)
    assert sorted(came.type_bytes) == sorted(foretold.type_bytes)
    assert msgspec.structs.replace(came, parts=(), **types) == msgspec.structs.replace(foretold, **types)
    assert foretold.quantization == "any"


def test_a_source_in_parts_becomes_one_file_of_the_foretold_size(tmp_path: Path) -> None:
    whole = sparse_model(tmp_path / "whole.gguf", SMALL, "F16", small_vocabulary=True)
    source, target = split_in_two(whole, tmp_path), tmp_path / "target.gguf"
    choices = made(MIXED, source)
    written = {RECIPE_KEY: recipe_text(MIXED)}
    assert [(one.name, one.after) for one in choices] == [(one.name, one.after) for one in made(MIXED, whole)]
    quantise(source, target, file_type_of(MIXED), choices=choices, written=written)
    assert target.stat().st_size == size_of(choices, headers(source), written)


def split_in_two(whole: Path, folder: Path) -> Path:
    """Write the model SMALL anew in two parts, the second with one tensor; return the first."""
    tensors = model_tensors(SMALL, "F16")
    last = tensors.popitem()
    u16, u32, i32, text = 2, 4, 5, 8
    facts = {
        "general.architecture": (text, "qwen2"), "qwen2.block_count": (u32, 3), "qwen2.embedding_length": (u32, 512),
        "qwen2.context_length": (u32, 512), "qwen2.feed_forward_length": (u32, 1024),
        "qwen2.attention.head_count": (u32, 8), "qwen2.attention.head_count_kv": (u32, 2),
        "qwen2.attention.layer_norm_rms_epsilon": (6, 1e-6), "general.file_type": (u32, 1),
        "tokenizer.ggml.model": (text, "none"),
    }  # fmt: skip
    paths = []
    for number, part in enumerate((tensors, dict([last]))):
        counts = {"split.no": (u16, number), "split.count": (u16, 2), "split.tensors.count": (i32, len(tensors) + 1)}
        path = folder / f"split-{number + 1:05}-of-00002.gguf"
        paths.append(write_gguf(path, (facts if not number else {}) | counts, part))
    return paths[0]


def test_rows_of_576_weights_fall_back_and_are_listed(starter_gguf: Path) -> None:
    choices = made(MIXED, starter_gguf)
    listed = fallbacks(choices)
    narrow = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up")
    assert {one.name for one in listed} == {f"blk.{layer}.{name}.weight" for layer in range(30) for name in narrow}
    assert {(one.wanted, one.after) for one in listed} == {("q4_K", "q5_0"), ("q3_K", "q4_0")}
    assert (len(listed), len(choices)) == (180, 272)
    assert requantized(choices)


def test_a_true_run_on_the_starter_has_the_foretold_size(starter_gguf: Path, tmp_path: Path) -> None:
    target = tmp_path / "mixed.gguf"
    choices = made(MIXED, starter_gguf)
    written = {RECIPE_KEY: recipe_text(MIXED)}
    quantise(starter_gguf, target, file_type_of(MIXED), choices=choices, written=written)
    assert target.stat().st_size == size_of(choices, headers(starter_gguf), written)
    shape = read_shape(target)
    assert (shape.quantization, shape.file_type) == ("mixed-4-3", 11)
    assert shape.weight_bytes == sum(one.after_bytes for one in choices)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", range(64)),
        ("7", range(7, 8)),
        ("70", range(64, 64)),
        ("0-19", range(20)),
        ("60-99", range(60, 64)),
        ("20-", range(20, 64)),
        ("-20", range(44, 64)),
        ("-99", range(64)),
        ("0%-25%", range(16)),
        ("25%-100%", range(16, 64)),
        ("33%-34%", range(22, 22)),
    ],
)
def test_layers_are_named_from_either_end_or_by_parts(text: str, found: range) -> None:
    assert list(layers_in(text, 64)) == list(found)


@given(cut=st.integers(1, 99), layers=st.integers(1, 200))
def test_two_parts_are_the_whole(cut: int, layers: int) -> None:
    first, second = layers_in(f"0%-{cut}%", layers), layers_in(f"{cut}%-100%", layers)
    assert [*first, *second] == list(range(layers))


@pytest.mark.parametrize("text", ["a", "19-0", "1-2-3", "-", "50%", "50%-20%", "0%-101%", " 3", "0 - 19", "٣"])
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"layers|range|part"):
        layers_in(text, 64)


def mix(base: str = "Q3_K_S", *, output: str = "", embedding: str = "", **rule: str) -> Mix:
    rules = (Rule((rule.get("tensors", "*"),), rule["type"], rule.get("layers", "")),) if rule else ()
    return Mix("mine", "Mine", base, rules, output, embedding)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (mix("F16"), "its base F16 quantises nothing, so no type could be set beside it"),
        (mix("Q3_K"), "its base Q3_K is no file type of llama.cpp"),
        (mix(type="q4_k"), "q4_k is no type that it can give"),
        (mix(output="iq2_xxs"), "output and embedding cannot be iq2_xxs: importance is not measured for them"),
        (mix(type="q4_K", layers="first"), 'layers are written as "0-19"'),
        (mix(type="iq3_xxs"), "blk.0.attn_q.weight and 20 more would be iq3_xxs, which is garbage without one"),
        (mix("Q2_K_S"), "would be q2_K, which is garbage without one"),
    ],
)
def test_a_mix_that_cannot_be_made_is_refused_before_anything_runs(wrong: Mix, said: str, files: Path) -> None:
    path = sparse_model(files / "small.gguf", SMALL, "F16", small_vocabulary=True)
    with pytest.raises(BackendError) as caught:
        made(wrong, path)
    assert said in caught.value.detail
    assert caught.value.hint


def test_with_a_matrix_the_smallest_types_may_be_given(files: Path) -> None:
    path = sparse_model(files / "small.gguf", SMALL, "F16", small_vocabulary=True)
    choices = made(mix(type="iq3_xxs"), path, importance=True)
    assert {one.after for one in choices if one.why == "rule"} == {"iq3_xxs"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"general.architecture": "gemma3"}, "the architecture gemma3; rules are known for llama, qwen2, qwen3"),
        ({"qwen2.expert_count": 8}, "experts"),
        ({"qwen2.block_count": 0}, "how many layers"),
        ({"qwen2.attention.head_count": "8"}, "how many layers and heads"),
    ],
)
def test_a_source_of_which_no_rules_are_known_is_refused(changed: dict[str, int | str], said: str, files: Path) -> None:
    (header,) = headers(sparse_model(files / "small.gguf", SMALL, "F16", small_vocabulary=True))
    with pytest.raises(BackendError, match="cannot be quantised") as caught:
        types_of(MIXED, [msgspec.structs.replace(header, metadata=header.metadata | changed)], importance=False)
    assert said in caught.value.detail


def test_a_source_that_is_cut_short_or_of_unknown_types_is_refused(files: Path) -> None:
    path = sparse_model(files / "cut.gguf", SMALL, "F16", small_vocabulary=True)
    (whole,) = headers(path)
    strange = tuple(
        msgspec.structs.replace(one, type=99) if one.name == "blk.1.ffn_up.weight" else one for one in whole.tensors
    )
    with pytest.raises(BackendError, match=r"blk\.1\.ffn_up\.weight is of type 99"):
        types_of(MIXED, [msgspec.structs.replace(whole, tensors=strange)], importance=False)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 32)
    with pytest.raises(BackendError, match="32 bytes are missing"):
        made(MIXED, path)


def test_what_has_its_type_already_is_copied(files: Path) -> None:
    path = sparse_model(files / "ready.gguf", SMALL, "Q3_K_S", small_vocabulary=True)
    choices = made(mix(type="q4_K", layers="1"), path)
    assert {one.name for one in requantized(choices)} == {f"blk.1.{name}.weight" for name in MATRICES}
    assert all(one.after_bytes == one.before_bytes for one in choices if one.after == one.before)


def test_rules_that_meet_nothing_are_told() -> None:
    beyond = Rule(("ffn_*",), "q4_K", "40-")
    hidden = Rule(("attn_q",), "q5_K", "0-3")
    rules = (Rule(("attn_*",), "q6_K"), beyond, hidden)
    assert idle_rules(Mix("mine", "Mine", "Q3_K_S", rules), 28, MATRICES) == (1, 2)
    assert idle_rules(Mix("mine", "Mine", "Q3_K_S", rules), 64, MATRICES) == (2,)


def test_the_files_word_for_a_mix_changes_with_what_it_holds_and_not_with_its_title() -> None:
    assert recipe_text(MIXED).startswith("mixed-4-3 ")
    assert len(recipe_text(MIXED)) == len("mixed-4-3 ") + 12
    assert recipe_text(msgspec.structs.replace(MIXED, title="Other")) == recipe_text(MIXED)
    assert recipe_text(msgspec.structs.replace(MIXED, base="Q3_K_M")) != recipe_text(MIXED)
