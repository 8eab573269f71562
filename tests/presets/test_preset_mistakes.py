"""Every way a preset file can be wrong: told with file, line, key and the nearest match, the others still there."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from presets.catalog import find, load_catalog
from presets.problems import PresetError

BUILTIN = [
    "8b-q4_k_m", "14b-q3_k_s-offload", "32b-mixed-ssd", "1.5b-q4_k_m", "starter", "exl2-14b-3.5bpw", "exl2-8b-4.0bpw",
]  # fmt: skip

MINE = """\
title = "Mine"
backend = "echo"

[model]
family = "Some"
quantization = "Q8_0"

[backends.echo]
source = "server:echo"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPSEEK_TUI_HOME", str(tmp_path))
    folder = tmp_path / "config" / "presets"
    folder.mkdir(parents=True)
    return folder


def problem(folder: Path, text: str | bytes, name: str = "mine") -> PresetError:
    """Write one preset, and return what the catalogue finds wrong with it; the built-ins have to be there still."""
    data = text if isinstance(text, bytes) else text.encode()
    (folder / f"{name}.toml").write_bytes(data)
    catalog = load_catalog()
    assert [entry.name for entry in catalog.entries] == BUILTIN
    (found,) = catalog.problems
    assert found.name == name
    assert found.file == folder / f"{name}.toml"
    return found


@pytest.mark.parametrize(
    ("text", "what", "key", "line", "hint"),
    [
        (MINE.replace("quantization", "quantisation"), "unknown key", "model.quantisation", 6, "model.quantization"),
        ("temperature = 0.1\n" + MINE, "unknown key", "temperature", 1, "sampling.temperature"),
        (MINE + "tokens_per_secnd = 4\n", "unknown key", "backends.echo.tokens_per_secnd", 10, "tokens_per_second"),
        (MINE + '[modle]\nfamily = "x"\n', "unknown key", "modle", 10, "Did you mean model?"),
        (MINE + "[sampling]\n'top p' = 1\n", "unknown key", 'sampling."top p"', 11, "sampling.top_p"),
        (MINE.replace('family = "Some"', "# gone"), "missing key", "model.family", 4, ""),
        (MINE.replace('title = "Mine"', ""), "missing key", "title", None, ""),
        (MINE.replace('source = "server:echo"', ""), "missing key", "backends.echo.source", 8, "source ="),
        (MINE.replace("server:echo", "hf:me"), "wrong source", "backends.echo.source", 9, "hf:OWNER/REPO/FILE"),
        (MINE.replace('"server:echo"', "3"), "wrong type", "backends.echo.source", 9, ""),
        (MINE.replace('backend = "echo"', 'backend = "ecco"'), "its backend has no table", "backend", 2, "echo"),
        (MINE + "zzz = 1\n", "unknown key", "backends.echo.zzz", 10, "Known here: text,"),
        (MINE + "context = 'big'\n", "wrong type", "backends.echo.context", 10, ""),
        (MINE + "fail = 'deocde'\n", "wrong value", "backends.echo.fail", 10, "Did you mean decode?"),
        ("slot = 9\n" + MINE, "wrong value", "slot", 1, ""),
        ("slot = -1\n" + MINE, "wrong value", "slot", 1, ""),
        ("context = 12\n" + MINE, "wrong value", "context", 1, ""),
        ("backends = 3\n" + MINE.partition("[backends")[0], "wrong type", "backends", 1, ""),
        (MINE.partition("[backends")[0] + "[backends]\necho = 1\n", "wrong type", "backends.echo", 9, ""),
        (MINE + "[sampling]\ntop_p = 1.5\n", "wrong value", "sampling.top_p", 11, ""),
        (MINE + "[sampling]\nfrequency_penalty = -11\n", "wrong value", "sampling.frequency_penalty", 11, ""),
        (MINE + "[sampling]\npresence_penalty = inf\n", "wrong value", "sampling.presence_penalty", 11, ""),
        (MINE + "[sampling]\ndry_multiplier = -1\n", "wrong value", "sampling.dry_multiplier", 11, ""),
        (MINE + "[sampling]\ndry_base = 0.5\n", "wrong value", "sampling.dry_base", 11, ""),
        (MINE + "[sampling]\ndry_allowed_length = 0\n", "wrong value", "sampling.dry_allowed_length", 11, ""),
        (MINE + "[sampling]\ntemperature = nan\n", "wrong value", "sampling.temperature", 11, ""),
        (MINE + "[sampling]\ntemperature = 1" + "0" * 400 + "\n", "wrong value", "sampling.temperature", 11, ""),
        (MINE + "[sampling]\nstop = [\n'a',\n3\n]\n", "wrong type", "sampling.stop", 11, ""),
        (MINE + "[published]\ntokens_per_second = [9, 3]\n", "wrong value", "published.tokens_per_second", 11, ""),
        (MINE + "[published]\nvram_gb = -1\n", "wrong value", "published.vram_gb", 11, ""),
        ("sampling = { seed = 1,\n" + MINE, "not valid TOML", "", 1, ""),
        (MINE + "published = 3\npublished = 4\n", "not valid TOML", "", 11, ""),
        ("extends = 3\n" + MINE, "wrong type", "extends", 1, ""),
    ],
)
def test_a_mistake_is_told_with_key_line_and_the_nearest_match(
    folder: Path, text: str, what: str, key: str, line: int | None, hint: str
) -> None:
    found = problem(folder, text)
    assert (found.what, found.key, found.line) == (what, key, line)
    assert hint in found.hint
    assert found.title == f"Preset mine: {what}"
    assert found.detail.startswith(f"{folder}/mine.toml")


def test_a_wrong_type_says_what_was_expected_and_what_is_there(folder: Path) -> None:
    found = problem(folder, 'slot = "one"\n' + MINE)
    assert found.detail == f"{folder}/mine.toml, line 1: slot: expected a whole number, found text in quotes"


def test_a_word_that_an_option_does_not_know_is_told_with_those_it_knows(folder: Path) -> None:
    text = MINE.replace("echo", "llama_cpp").replace("server:", "file:/")
    assert problem(folder, text + 'gpu_layers = "all"\n').hint == "Choose one of: auto, a whole number."
    assert problem(folder, text + 'kv_cache = "q8"\n').hint == "Did you mean q8_0?"
    assert problem(folder, text + "gpu_layers = 1.5\n").hint == "Words that are allowed: auto."


def test_a_mistake_in_a_child_is_told_in_the_child(folder: Path) -> None:
    found = problem(folder, 'extends = "starter"\n\n[sampling]\nsede = 1\n')
    assert (found.key, found.line, found.hint) == ("sampling.sede", 4, "Did you mean sampling.seed?")


def test_the_home_folder_is_written_short(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent.parent))
    assert problem(folder, "x").detail.startswith("~/config/presets/mine.toml, line 1")


def test_a_file_that_is_not_utf_8_is_told_with_its_line(folder: Path) -> None:
    found = problem(folder, MINE.encode() + b"# \xff\xfe\n")
    assert (found.what, found.line) == ("not UTF-8 text", 10)


def test_a_byte_order_mark_and_line_ends_of_windows_do_no_harm(folder: Path) -> None:
    (folder / "mine.toml").write_bytes(b"\xef\xbb\xbf" + MINE.replace("\n", "\r\n").encode())
    assert load_catalog().problems == ()


def test_a_file_that_is_no_preset_at_all_is_refused_by_its_size(folder: Path) -> None:
    assert problem(folder, b"#" * (256 * 1024 + 1)).what == "too large"


def test_what_is_no_file_is_named_and_never_waited_for(folder: Path) -> None:
    (folder / "dir.toml").mkdir()
    (folder / "gone.toml").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.toml")
    catalog = load_catalog()
    assert [entry.name for entry in catalog.entries] == BUILTIN
    assert [(found.name, found.what) for found in catalog.problems] == [
        ("dir", "not a file"),
        ("gone", "cannot be read"),
        ("pipe", "not a file"),
    ]


def test_a_folder_that_is_none_is_a_problem_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "presets").write_text("")
    catalog = load_catalog(tmp_path / "presets")
    assert [entry.name for entry in catalog.entries] == BUILTIN
    assert [found.what for found in catalog.problems] == ["the folder cannot be read"]


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000 + "]" * 5000, "a = " + "[" * 40 + "]" * 40, ".".join("a" * 900) + " = 1"]
)
def test_nesting_without_end_is_refused(folder: Path, text: str) -> None:
    assert problem(folder, text).what == "nested too deeply"


def test_a_number_of_thousands_of_digits_is_refused(folder: Path) -> None:
    assert problem(folder, "slot = " + "9" * 5000).what == "not valid TOML"


def test_hostile_text_is_kept_as_text_and_escaped_in_messages(folder: Path) -> None:
    hostile = "[/x] \x1b]52;c;aGk=\x07 \u202e ' \" \\ ${HOME} {{7*7}}"
    escaped = msgspec.json.encode(hostile).decode().replace("\u202e", "\\u202e")
    (folder / "mine.toml").write_text(MINE.replace('"Mine"', escaped))
    assert find(load_catalog(), "mine").preset.title == hostile
    found = problem(folder, f"{escaped} = 1\n" + MINE)
    assert found.what == "unknown key"
    assert (found.title + found.detail + found.hint).isprintable()


def test_hostile_file_names_are_escaped_in_messages(folder: Path) -> None:
    found = problem(folder, "x", name="a\x1b[31m\u202eb")
    assert (found.title + found.detail + found.hint).isprintable()


VALUES = st.recursive(
    st.none().map(lambda _: "true")
    | st.integers().map(str)
    | st.floats().map(repr)
    | st.sampled_from(['"hf:a/b/c"', '"auto"', '"echo"', '""', "1979-05-27", "07:32:00", '"""a\nb"""', "'''\nx'''"])
    | st.text().map(lambda text: msgspec.json.encode(text).decode()),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ",\n ".join(items) + "]")
        | st.lists(inner, max_size=2).map(
            lambda items: "{" + ", ".join(f"k{n} = {item}" for n, item in enumerate(items)) + "}"
        )
    ),
    max_leaves=6,
)
KEYS = (
    st.sampled_from(["title", "slot", "backend", "context", "model", "model.family", "model.quantization", "extends"])
    | st.sampled_from(["sampling", "sampling.top_p", "sampling.stop", "published.vram_gb", "published", "keep_alive_s"])
    | st.sampled_from(["backends", "backends.echo", "backends.echo.source", "backends.echo.text", "model.reasoning"])
    | st.text(max_size=4).map(lambda text: msgspec.json.encode(text).decode())
)
LINES = st.one_of(
    st.builds("{} = {}".format, KEYS, VALUES),
    KEYS.map("[{}]".format),
    KEYS.map("[[{}]]".format),
    st.text(max_size=12),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, max_size=8).map("\n".join), st.booleans())
@example("slot=1\nslot=2", False)
@example("[a]\n[[a]]", True)
def test_any_text_is_a_preset_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, text: str, with_preset: bool
) -> None:
    folder = tmp_path_factory.mktemp("presets")
    data = (text + "\n" + MINE if with_preset else text).encode("utf-8", "surrogatepass")
    (folder / "mine.toml").write_bytes(data)
    catalog = load_catalog(folder)
    assert len(catalog.entries) + len(catalog.problems) == len(BUILTIN) + 1
    for found in catalog.problems:
        assert found.name == "mine"
        assert (found.title + found.detail).isprintable()
        assert found.line is None or 1 <= found.line <= data.count(b"\n") + 1


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_preset_or_a_problem(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("presets")
    (folder / "mine.toml").write_bytes(data)
    assert [found.name for found in load_catalog(folder).problems] == ["mine"]
