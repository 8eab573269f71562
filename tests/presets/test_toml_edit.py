"""Changing one value of a user's file: the value is right, and not a word of the rest is lost."""

from __future__ import annotations

import math
import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from presets.catalog import BUILTIN
from presets.toml_edit import CannotEdit, drop, literal, put
from presets.toml_lines import Key

MINE = """\
# My own preset.
# It has two lines of words.

title = "Mine"            # shown in the sidebar
context=8192#as much as fits

[model]
family = 'some'           # any
tags = [
  "a",
  "b",
]

# The engine.
[backends.llama_cpp]
source = "file:~/m.gguf"
options = { a = 1, b = "x" }
"""


def test_a_value_is_changed_in_its_place_and_its_comment_stays() -> None:
    text = put(MINE, ("title",), 'My "own"')
    assert text == MINE.replace('title = "Mine" ', 'title = "My \\"own\\"" ')
    assert put(MINE, ("context",), 4096) == MINE.replace("8192", "4096")
    assert put(MINE, ("model", "family"), "other") == MINE.replace("'some'", '"other"')
    changed = put(MINE, ("model", "tags"), ["c"])
    assert 'tags = ["c"]\n\n# The engine.' in changed


def test_a_new_key_goes_to_the_end_of_its_table_and_a_new_table_to_the_end_of_the_file() -> None:
    assert '[backends.llama_cpp]\nsource = "file:~/m.gguf"\noptions = { a = 1, b = "x" }\nthreads = 4\n' in put(
        MINE, ("backends", "llama_cpp", "threads"), 4
    )
    assert "context=8192#as much as fits\nslot = 3\n\n[model]" in put(MINE, ("slot",), 3)
    assert put(MINE, ("sampling", "top_p"), 0.9) == MINE + "\n[sampling]\ntop_p = 0.9\n"
    assert put("", ("a", "b c"), True) == '[a]\n"b c" = true\n'
    assert put("x = 1", ("y",), 2) == "x = 1\ny = 2\n"
    assert put("[a]", ("a", "b"), 1) == "[a]\nb = 1\n"


def test_a_first_key_comes_before_all_tables_and_behind_the_words_about_the_file() -> None:
    assert put("# About.\n\n[a]\nb = 1\n", ("c",), 2) == "# About.\n\nc = 2\n\n[a]\nb = 1\n"
    assert put("# About a.\n[a]\nb = 1\n", ("c",), 2) == "c = 2\n\n# About a.\n[a]\nb = 1\n"
    assert put("[a]\nb = 1\n", ("c",), 2) == "c = 2\n\n[a]\nb = 1\n"


def test_a_key_is_dropped_with_its_line() -> None:
    assert drop(MINE, ("title",)) == MINE.replace('title = "Mine"            # shown in the sidebar\n', "")
    assert "tags" not in drop(MINE, ("model", "tags"))
    assert drop("a = 1", ("a",)) == ""


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (MINE, ("backends", "llama_cpp", "options", "a")),
        (MINE, ("title", "inner")),
        ("model = { family = 'x' }\n", ("model", "family")),
        ("model = { family = 'x' }\n", ("model", "licence")),
        ("title = [\n  1, # first\n]\n", ("title",)),
        ("[[a]]\nb = 1\n[[a]]\nb = 2\n", ("a", "b")),
    ],
)
def test_what_stands_in_another_form_is_refused(text: str, key: Key) -> None:
    with pytest.raises(CannotEdit) as caught:
        put(text, key, 7)
    assert caught.value.key == key


def test_a_number_that_is_none_is_no_reason_to_refuse_an_edit() -> None:
    assert put("a = nan\nb = 1\n", ("b",), math.nan) == "a = nan\nb = nan\n"
    assert put("a = nan\nb = 1\n", ("a",), 0.5) == "a = 0.5\nb = 1\n"


def test_what_is_not_there_cannot_be_dropped() -> None:
    with pytest.raises(CannotEdit):
        drop(MINE, ("slot",))
    with pytest.raises(CannotEdit):
        drop("a = 1\n", ("a", "b"))


_keys = st.sampled_from(["title", "a b", "x", "é", "model", ""])
_scalars = st.booleans() | st.integers(-9, 10**9) | st.floats(allow_nan=False) | st.text(max_size=12)
_values = _scalars | st.lists(_scalars, max_size=3) | st.dictionaries(_keys, _scalars, max_size=2)
_tables = st.dictionaries(_keys, _values | st.dictionaries(_keys, _values, max_size=3), max_size=4)


@given(table=_tables, path=st.lists(_keys, min_size=1, max_size=3), value=_values, comments=st.booleans())
def test_a_changed_text_says_what_it_should_and_keeps_every_comment(
    table: dict[str, Any], path: list[str], value: Any, comments: bool
) -> None:
    text = tomli_w.dumps(table)
    if comments and "\n\n" not in text.replace('"""', ""):
        text = "".join(f"{line}\n# note {number}\n" for number, line in enumerate(text.splitlines()))
        try:
            assert tomllib.loads(text) == table
        except (ValueError, AssertionError):
            text = tomli_w.dumps(table)  # the lines were inside a value
    try:
        changed = put(text, tuple(path), value)
    except CannotEdit:
        return
    found: Any = tomllib.loads(changed)
    for key in path:
        found = found[key]
    assert found == value
    notes = [line for line in text.splitlines() if line.startswith("# note")]
    assert [line for line in changed.splitlines() if line.startswith("# note")] == notes
    assert tomllib.loads(put(changed, tuple(path), 1)) is not None


@given(_values)
def test_a_literal_is_one_line_that_reads_back(value: Any) -> None:
    text = literal(value)
    assert "\n" not in text
    assert tomllib.loads(f"k = {text}")["k"] == value


@pytest.mark.parametrize("path", sorted(BUILTIN.glob("*.toml")), ids=lambda path: path.stem)
def test_the_main_settings_of_every_built_in_can_be_changed_in_its_text(path: Any) -> None:
    text = path.read_text(encoding="utf-8")
    backend = tomllib.loads(text)["backend"]
    for key, value in {
        ("title",): "Other", ("slot",): 6, ("context",): 1024, ("sampling", "temperature"): 0.1,
        ("backends", backend, "source"): "file:/x", ("backends", backend, "kv_cache"): "f16",
    }.items():  # fmt: skip
        changed = put(text, key, value)
        kept = [line for line in text.splitlines() if line.startswith("#")]
        assert [line for line in changed.splitlines() if line.startswith("#")] == kept
