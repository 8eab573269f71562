"""Lines of keys in TOML, against the standard parser: every key that it finds has a line, the right one."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from presets.toml_lines import Key, key_lines, line_of

TRICKY = '''\
# comment = 1
a = 1
"b c" = """
x = 2
\\""" [nothing] """
'd.e' = \'\'\'
[no.table]
\'\'\'\'
f.g . h = [ # y = 3
  { i = "]" }, { j = { k = 1, l = '}' } },
  "z = 4", # ]
]

[t]
m = { n = 1, o.p = "#" }   # q = 1
r = 1979-05-27T07:32:00Z
[t."u v".w]
x=-1.5e3
[[y]]
z = true
[[y]]
z = false
last = "\\\\"
end = 1'''


def paths(table: Any, at: Key = ()) -> set[Key]:
    """Return the path of every key in a parsed document."""
    if isinstance(table, list):
        return {path for item in table for path in paths(item, at)}
    if not isinstance(table, dict):
        return set()
    return {path for key, value in table.items() for path in {(*at, key)} | paths(value, (*at, key))}


def test_every_kind_of_key_and_value_is_understood() -> None:
    lines = key_lines(TRICKY)
    assert set(lines) == paths(tomllib.loads(TRICKY))
    assert {".".join(path): line for path, line in lines.items()} == {
        "a": 2,
        "b c": 3,
        "d.e": 6,
        "f": 9,
        "f.g": 9,
        "f.g.h": 9,
        "f.g.h.i": 10,
        "f.g.h.j": 10,
        "f.g.h.j.k": 10,
        "f.g.h.j.l": 10,
        "t": 14,
        "t.m": 15,
        "t.m.n": 15,
        "t.m.o": 15,
        "t.m.o.p": 15,
        "t.r": 16,
        "t.u v": 17,
        "t.u v.w": 17,
        "t.u v.w.x": 18,
        "y": 19,
        "y.z": 20,
        "y.last": 23,
        "y.end": 24,
    }


def test_a_key_that_is_not_there_has_the_line_of_the_table_around_it() -> None:
    lines = key_lines("\n[a.b]\nc = 1\n")
    assert line_of(lines, ("a", "b", "d", "e")) == 2
    assert line_of(lines, ("z",)) is None


SCALARS = st.integers().map(str) | st.sampled_from(
    ["true", "1.5", "inf", '"a = 1 # ] }"', "'''\n[x]\ny = 1'''", '"""\n\\""" z = 1"""', "07:32:00", '"\\""']
)


def written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.encode(key).decode()} = {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + " , # ]\n".join(map(written, value)) + "\n]"
    return str(value)


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)
DOCUMENTS = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
    ),
    max_size=5,
)


@given(DOCUMENTS)
def test_keys_found_are_those_that_the_parser_finds_and_stand_on_their_lines(document: dict[str, Any]) -> None:
    text = "\n".join(f"{json.encode(key).decode()} = {written(value)}" for key, value in document.items())
    lines = key_lines(text)
    assert set(lines) == paths(tomllib.loads(text))
    rows = text.split("\n")
    for path, line in lines.items():
        assert json.encode(path[-1]).decode() in rows[line - 1]


@given(
    st.lists(st.sampled_from(["a", "'b'", ".", "=", "[", "]", "{", "}", '"', "#", "\n", ",", "1", " "])).map("".join)
)
def test_any_text_that_the_parser_accepts_is_understood(text: str) -> None:
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(key_lines(text)) == paths(parsed)
