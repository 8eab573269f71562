"""Recipes for mixes: those that come with us, one's own, and what is said of one that cannot be used."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.gguf.mixes import Mix, Rule
from presets import families
from presets.families import shape_by_rules
from presets.recipes import (
    BASES,
    BUILTIN,
    RecipeError,
    Recipes,
    find_recipe,
    known_recipe,
    load_recipes,
    read_recipe,
)

NAMES = ("attention-4", "mixed-3-4", "mixed-4-3")
MINE = """\
title = "Mine"
base = "Q4_K_M"

[[rules]]
tensors = ["attn_v", "ffn_down"]
layers = "0-3"
type = "q6_K"

[[rules]]
tensors = ["ffn_*"]
type = "q3_K"
"""


@pytest.fixture
def folder(home: Path) -> Path:
    folder = home / "config" / "recipes"
    folder.mkdir(parents=True)
    return folder


def names(recipes: Recipes) -> tuple[str, ...]:
    return tuple(entry.mix.name for entry in recipes.entries)


def problem(folder: Path, text: str | bytes, name: str = "mine") -> RecipeError:
    """Write one recipe, and return what is found wrong with it; the built-ins have to be there still."""
    path = folder / f"{name}.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    recipes = load_recipes()
    assert names(recipes) == NAMES
    (found,) = recipes.problems
    assert (found.name, found.file) == (name, path)
    with pytest.raises(RecipeError) as caught:
        find_recipe(name)
    assert str(caught.value) == str(found)
    return found


def test_these_come_with_us_and_say_what_they_are_for() -> None:
    recipes = load_recipes()
    assert (names(recipes), recipes.problems) == (NAMES, ())
    assert all(entry.builtin and entry.mix.title and entry.mix.description for entry in recipes.entries)
    assert find_recipe("mixed-4-3").rules == (Rule(("*",), "q4_K", "0-19"),)
    assert find_recipe("mixed-3-4").rules == (Rule(("*",), "q4_K", "-20"),)
    assert {find_recipe(name).base for name in NAMES} == {"Q3_K_S"}


def test_ones_own_are_found_beside_them_and_hide_those_of_the_same_name(folder: Path) -> None:
    for name in ("mine", "mixed-4-3"):
        (folder / f"{name}.toml").write_text(MINE)
    (folder / ".hidden.toml").write_text("?")
    (folder / "notes.txt").write_text("?")
    recipes = load_recipes()
    assert names(recipes) == ("attention-4", "mine", "mixed-3-4", "mixed-4-3")
    assert [entry.builtin for entry in recipes.entries] == [True, False, True, False]
    rules = (Rule(("attn_v", "ffn_down"), "q6_K", "0-3"), Rule(("ffn_*",), "q3_K"))
    assert find_recipe("mine") == Mix("mine", "Mine", "Q4_K_M", rules)
    assert find_recipe("mixed-4-3").title == "Mine"


def test_a_recipe_may_lie_anywhere(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("\ufeff" + MINE.replace("\n", "\r\n"))
    assert find_recipe(str(tmp_path / "other.toml")).base == "Q4_K_M"
    with pytest.raises(RecipeError, match="cannot be read") as caught:
        find_recipe(str(tmp_path / "missing.toml"))
    assert caught.value.file == tmp_path / "missing.toml"


@pytest.mark.parametrize("name", ["Q4_K_M", "q4_k_m", "IQ3_M", "Q4_K_L"])
def test_llama_cpps_own_recipes_can_be_named_too(name: str) -> None:
    found = find_recipe(name)
    assert (found.name, found.base, found.rules) == (name.upper(), name.upper(), ())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mixed43", "Did you mean mixed-4-3 or mixed-3-4?"),
        ("Q4_K_N", "Did you mean Q4_K_"),
        ("something", "There are: attention-4, mixed-3-4, mixed-4-3; and llama.cpp's own, such as Q4_K_M."),
        ("", "There are:"),
        ("%%%", "There are:"),
    ],
)
def test_a_name_that_nobody_has_is_told_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(RecipeError, match="there is none of this name") as caught:
        find_recipe(name)
    assert hint in caught.value.hint
    assert known_recipe(name) is None


@pytest.mark.parametrize("name", ["F16", "bf16"])
def test_what_quantises_nothing_is_no_recipe(name: str) -> None:
    with pytest.raises(RecipeError, match="it quantises nothing"):
        find_recipe(name)
    assert known_recipe(name) is None


WRONG = [
    ('type = "q3_K"', 'type = "q3_k"', 11, "rules.type (rule 2)", "found q3_k", "Did you mean q3_K?"),
    ('type = "q6_K"', 'type = "Q6K"', 7, "rules.type (rule 1)", "found Q6K", "Did you mean q6_K?"),
    ('type = "q6_K"', 'type = "mxfp4"', 7, "rules.type (rule 1)", "found mxfp4", "Choose one of: f16, bf16, q8_0"),
    ('type = "q6_K"', "type = 6", 7, "rules.type (rule 1)", "expected text in quotes, found a whole number", ""),
    ('type = "q6_K"\n', "", 4, "rules.type (rule 1)", "it has to be there", ""),
    ('"attn_v"', '"attn_w"', 5, "rules.tensors (rule 1)", "attn_w names no matrix of a layer", "Did you mean attn_"),
    ('["ffn_*"]', '["mlp_*"]', 10, "rules.tensors (rule 2)", "mlp_* names no matrix", "There are: attn_q, attn_k"),
    ('["ffn_*"]', '"ffn_*"', 10, "rules.tensors (rule 2)", "expected a list, found text in quotes", ""),
    ('["ffn_*"]', "[]", 10, "rules.tensors (rule 2)", "it names no tensor", ""),
    ('["ffn_*"]', '["blk.*.ffn_up.weight"]', 10, "rules.tensors (rule 2)", "names no matrix", "Write ffn_up: without"),
    ('["ffn_*"]', '["output"]', 10, "rules.tensors (rule 2)", "names no matrix", 'Write output = "…" before the rules'),
    ('["ffn_*"]', '["token_embd"]', 10, "rules.tensors (rule 2)", "names no matrix", 'Write embedding = "…" before'),
    ('"0-3"', '"3-0"', 6, "rules.layers (rule 1)", "found 3-0: a range goes from a smaller", ""),
    ('"0-3"', '"first"', 6, "rules.layers (rule 1)", 'found first: layers are written as "0-19"', ""),
    ('"0-3"', "3", 6, "rules.layers (rule 1)", "expected text in quotes, found a whole number", ""),
    ("layers =", "layer =", 6, "rules.layer (rule 1)", "", "Did you mean rules.layers?"),
    ('base = "Q4_K_M"', 'base = "F16"', 2, "base", "found F16", "Choose one of: Q8_0"),
    ('base = "Q4_K_M"', 'base = "q4_k_m"', 2, "base", "found q4_k_m", "Did you mean Q4_K_M?"),
    ('base = "Q4_K_M"', "", None, "base", "it has to be there", ""),
    ('base = "Q4_K_M"', 'base = "Q4_K_M"\noutput = "q6_k"', 3, "output", "found q6_k", "Did you mean q6_K?"),
    ('base = "Q4_K_M"', 'base = "Q4_K_M"\nembedding = "iq2_s"', 3, "embedding", "iq2_s needs an", "Choose one"),
    ('title = "Mine"', 'titel = "Mine"', 1, "titel", "", "Did you mean title?"),
    ('title = "Mine"', "title = Mine", 1, "", "Invalid value", ""),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "key", "note", "hint"), WRONG)
def test_what_is_wrong_is_told_with_file_line_key_and_the_nearest_word(
    old: str, new: str, line: int | None, key: str, note: str, hint: str, folder: Path
) -> None:
    assert old in MINE
    found = problem(folder, MINE.replace(old, new, 1))
    assert (found.line, found.key) == (line, key)
    assert str(found).startswith("Recipe mine: ")
    assert "mine.toml" in found.detail
    assert note in found.detail
    assert hint in found.hint


def test_rules_in_one_line_have_the_line_of_their_list(folder: Path) -> None:
    found = problem(folder, 'title = "Mine"\nbase = "Q4_K_M"\nrules = [{tensors = ["*"], type = "q9_K"}]\n')
    assert (found.line, found.key) == (3, "rules.type (rule 1)")


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"\xff", "not UTF-8 text"), (b"#" * 300_000, "too large"), (b"a = " + b"[" * 5000, "nested too deeply")],
)
def test_what_is_no_recipe_at_all_is_told(data: bytes, what: str, folder: Path) -> None:
    found = problem(folder, data)
    assert found.what == what
    assert "preset" not in str(found) + found.hint


@pytest.mark.parametrize("name", ["Q4_K_M", "with space", "ä", "x" * 65])
def test_a_file_whose_name_no_recipe_can_have_is_told(name: str, folder: Path) -> None:
    path = folder / f"{name}.toml"
    path.write_text(MINE)
    with pytest.raises(RecipeError, match="a name that cannot be used"):
        read_recipe(path)
    assert names(load_recipes()) == NAMES


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_leaves_the_built_ins(folder: Path) -> None:
    folder.chmod(0)
    recipes = load_recipes()
    folder.chmod(0o700)
    assert names(recipes) == NAMES
    assert [one.what for one in recipes.problems] == ["the folder cannot be read"]


@settings(deadline=None)
@given(text=st.text(max_size=80) | st.sampled_from(MINE.splitlines()).map(lambda line: MINE.replace(line, "", 1)))
def test_whatever_stands_in_a_file_only_a_recipe_or_its_fault_comes_out(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(RecipeError):
        assert read_recipe(path).base in BASES


def test_a_family_has_a_shape_by_the_name_of_a_mix(folder: Path) -> None:
    shape = shape_by_rules("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "mixed-4-3")
    assert shape is not None
    assert (shape.quantization, round(shape.weight_bytes / 1e9, 2)) == ("mixed-4-3", 15.68)
    assert shape_by_rules("DeepSeek-R1-Distill-Qwen-32B", "mixed-4-3") is shape
    assert families.quality("mixed-4-3") is None
    # One's own of that name is another.
    (folder / "mixed-4-3.toml").write_text(MINE)
    changed = shape_by_rules("DeepSeek-R1-Distill-Qwen-32B", "mixed-4-3")
    assert changed is not None
    assert changed.weight_bytes != shape.weight_bytes
    (folder / "mixed-4-3.toml").write_text("broken")
    assert shape_by_rules("DeepSeek-R1-Distill-Qwen-32B", "mixed-4-3") is None
    assert shape_by_rules("some-other-model", "mixed-3-4") is None


def test_they_are_packed_into_the_wheel() -> None:
    builder = WheelBuilder(str(BUILTIN.parent.parent))
    packed = {included.distribution_path for included in builder.recurse_included_files()}
    assert {f"presets/recipes/{name}.toml" for name in NAMES} | {"presets/recipes.py"} <= packed
    assert sys.modules["presets.recipes"].__file__ == str(BUILTIN.with_suffix(".py"))
