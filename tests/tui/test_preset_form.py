"""The fields of a preset, and what becomes of what is typed into them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from presets.catalog import find, load_catalog
from presets.schema import PresetEntry
from presets.toml_lines import Key
from tui.screens.preset.content import About, Plans, below, fault, note
from tui.screens.preset.form import SLOT, Checked, check, fields, save

CONTEXT: Key = ("context",)
KV: Key = ("backends", "llama_cpp", "kv_cache")
LAYERS: Key = ("backends", "llama_cpp", "gpu_layers")
TOP_P: Key = ("sampling", "top_p")
TEMPERATURE: Key = ("sampling", "temperature")
MINE = """# Mine.
title = "Mine"
slot = 6        # F7
backend = "llama_cpp"
context = 8192  # enough
[model]
family = "x"
quantization = "Q4_K_M"
[sampling]
top_p = 0.5
[backends.llama_cpp]
source = "file:/nowhere.gguf"
kv_cache = "q8_0"
[backends.ollama]
source = "ollama:x"
context = 4000
"""


@pytest.fixture(autouse=True)
def folder(home: Path) -> Path:
    found = home / "config" / "presets"
    found.mkdir(parents=True)
    (found / "mine.toml").write_text(MINE)
    return found


def entry(name: str) -> PresetEntry:
    return find(load_catalog(), name)


def checked(name: str, changes: dict[Key, str]) -> Checked:
    wanted = fields(entry(name), load_catalog())
    return check(load_catalog(), entry(name), wanted, {field.key: field.text for field in wanted} | changes)


def written(name: str, changes: dict[Key, str]) -> PresetEntry:
    found = checked(name, changes)
    assert found.edited is not None
    save(load_catalog(), found.edited)
    return entry(name)


def test_a_preset_has_the_fields_of_all_its_backends_and_one_context_where_they_share_it() -> None:
    found = {field.key: field for field in fields(entry("mine"), load_catalog(), 300.0)}
    assert {key[-1] for key in found} == {
        "title", "slot", "backend", "context", "kv_cache", "gpu_layers", "temperature", "top_p", "keep_alive_s",
    }  # fmt: skip
    assert (found[CONTEXT].text, found[CONTEXT].backends) == ("8192", ("llama_cpp",))
    own = found[("backends", "ollama", "context")]
    assert (own.text, own.backends) == ("4000", ("ollama",))
    assert (found[KV].text, [value for value, _ in found[KV].choices]) == ("q8_0", ["f16", "q8_0", "q4_0"])
    assert (found[LAYERS].text, found[LAYERS].usual) == ("", "auto")
    assert found[("keep_alive_s",)].usual == "300, as the settings say"


def test_nothing_typed_is_nothing_to_write() -> None:
    assert checked("mine", {}) == Checked(entry("mine"))
    assert checked("mine", {CONTEXT: " 8192 "}).edited is None


def test_only_what_was_typed_changes_and_comments_stay(folder: Path) -> None:
    after = written("mine", {CONTEXT: "16384", LAYERS: "20", TOP_P: "0.9", ("title",): "14"})
    text = (folder / "mine.toml").read_text()
    assert (after.preset.title, after.preset.context, after.preset.sampling.top_p) == ("14", 16384, 0.9)
    assert after.preset.backends["llama_cpp"]["gpu_layers"] == 20
    assert "context = 16384  # enough" in text
    assert text.startswith("# Mine.\n")


def test_a_built_in_is_changed_by_a_file_that_extends_it(folder: Path) -> None:
    after = written("8b-q4_k_m", {KV: "q4_0"})
    assert not after.builtin
    assert tomllib.loads((folder / "8b-q4_k_m.toml").read_text()) == {
        "extends": "8b-q4_k_m",
        "backends": {"llama_cpp": {"kv_cache": "q4_0"}},
    }


@pytest.mark.parametrize(
    ("key", "said"),
    [(("keep_alive_s",), "expected a number >= 0"), (TEMPERATURE, "expected 0 to 10, found a number")],
)
def test_no_number_is_said_to_be_none(key: Key, said: str) -> None:
    found = checked("mine", {key: "nan"})
    assert fault(found.wrong[key]).startswith(said)


def test_every_field_that_is_wrong_is_found_and_the_others_count() -> None:
    found = checked("mine", {CONTEXT: "12", TOP_P: "2", LAYERS: "some", TEMPERATURE: "0.3"})
    assert {key: fault(problem).partition(".")[0] for key, problem in found.wrong.items()} == {
        CONTEXT: "expected a whole number >= 256",
        TOP_P: "expected 0 to 1, found 2",
        LAYERS: "found some",
    }
    assert not found.right
    assert found.entry.preset.sampling.temperature == 0.3
    assert found.entry.preset.context == 8192


def test_a_field_that_is_emptied_is_what_it_is_without_the_users_line() -> None:
    own = checked("mine", {CONTEXT: ""})
    assert (own.entry.preset.context, own.empty) == (None, {CONTEXT: "4096"})
    builtin = checked("8b-q4_k_m", {CONTEXT: ""})
    assert (builtin.edited, builtin.empty) == (None, {CONTEXT: "8192"})
    context = next(field for field in fields(entry("8b-q4_k_m"), load_catalog()) if field.key == CONTEXT)
    assert note(context, "", builtin) == "left empty it is 8192"


@pytest.mark.parametrize("name", ["mine", "8b-q4_k_m"])
def test_a_key_can_be_taken_off(name: str) -> None:
    assert written(name, {SLOT: ""}).preset.slot is None
    assert written(name, {SLOT: "6"}).preset.slot == 6


@pytest.mark.parametrize("owner", ["14b-q3_k_s-offload", "zebra", "another", "starter"])
def test_a_key_is_taken_from_whoever_has_it(owner: str, folder: Path) -> None:
    slot = entry(owner).preset.slot if owner in {one.name for one in load_catalog().entries} else None
    if slot is None:
        slot = 2
        (folder / f"{owner}.toml").write_text(MINE.replace("slot = 6", "slot = 2").replace("Mine", owner))
    if owner == "starter":  # The user's own file extends it, and so it keeps the built-in's key.
        (folder / "starter.toml").write_text('extends = "starter"\ncontext = 512\n')
    field = next(one for one in fields(entry("mine"), load_catalog()) if one.key == SLOT)
    assert note(field, str(slot), None) == f"taken from {entry(owner).preset.title}"
    assert written("mine", {SLOT: str(slot)}).preset.slot == slot
    assert entry(owner).preset.slot is None
    assert not entry("mine").notes


def test_what_cannot_be_edited_line_by_line_is_said_and_nothing_is_offered_to_be_written(folder: Path) -> None:
    (folder / "mine.toml").write_text(
        'backends.llama_cpp = { source = "file:/x.gguf", kv_cache = "q8_0" }\n' + MINE.partition("[sampling]")[0]
    )
    found = checked("mine", {KV: "f16"})
    assert found.edited is None
    assert "it is not written on a line of its own there" in fault(found.wrong[KV])
    assert "Write it into the file yourself" in below(
        About("x", "x.toml", own=True, running=False), found, Plans(), "", 90
    ).plain.replace("\n", " ")


def test_text_of_a_file_cannot_steer_the_terminal(folder: Path) -> None:
    hostile = "\\u001b[31m[/x]\\u202e"
    (folder / "mine.toml").write_text(MINE.replace('"Mine"', f'"{hostile}"'))
    (folder / "two.toml").write_text(MINE.replace('"Mine"', f'"{hostile} two"').replace("slot = 6", "slot = 3"))
    field = next(one for one in fields(entry("mine"), load_catalog()) if one.key == SLOT)
    assert checked("mine", {}).edited is None
    told = (
        "".join(one.text for one in fields(entry("mine"), load_catalog()))
        + note(field, "3", None)
        + below(
            About(hostile, "\x1b.toml", own=False, running=True),
            checked("mine", {LAYERS: "\x1b[31m"}),
            Plans(),
            "\x1b",
            60,
        ).plain
    )
    assert not any(character in told for character in "\x1b\u202e")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([CONTEXT, TOP_P, LAYERS, ("title",), ("keep_alive_s",)]), st.text(max_size=20))
def test_whatever_is_typed_is_either_right_or_said_to_be_wrong(key: Key, text: str) -> None:
    found = checked("mine", {key: text})
    assert found.right or key in found.wrong
    if found.edited is not None:
        tomllib.loads(found.edited.text)
