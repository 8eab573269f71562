"""`[build]` of a preset: what can be made instead of fetched, what that takes, and what is used once it is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w

from backends.jobs.job import key_of
from backends.llama_cpp.quantizing import unseen
from backends.llama_cpp.quantizing.estimate import Estimate
from backends.llama_cpp.quantizing.wanted import Quantize, job_of
from presets.building import Building, building, job_key, seconds_to_make, takes
from presets.built import built_file, file_name, is_built
from presets.catalog import find, load_catalog
from presets.problems import PresetError
from presets.pulling import keys
from presets.recipes import find_recipe
from presets.schema import PresetEntry, registered_options, source_for
from presets.sources import HuggingFace

NAME, FAMILY, RECIPE = "32b-mixed-ssd", "DeepSeek-R1-Distill-Qwen-32B", "mixed-4-3"
F16 = "DeepSeek-R1-Distill-Qwen-32B-F16-00001-of-00002.gguf"
MINE: dict[str, Any] = {
    "title": "Mine",
    "backend": "llama_cpp",
    "model": {"family": "Some/My Model", "quantization": "Q8_0"},
    "backends": {"llama_cpp": {"source": "hf:me/some/ready.gguf"}, "ollama": {"source": "gguf"}},
    "build": {"recipe": RECIPE, "source": "hf:me/some/F16.gguf"},
}


def write(home: Path, table: dict[str, Any], name: str = "mine") -> None:
    (home / "config/presets").mkdir(parents=True, exist_ok=True)
    (home / f"config/presets/{name}.toml").write_text(tomli_w.dumps(table), encoding="utf-8")


def preset(name: str = "mine") -> PresetEntry:
    return find(load_catalog(), name)


def made(family: str = FAMILY) -> Path:
    file = built_file(family, RECIPE)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return file


def source(entry: PresetEntry, backend: str = "llama_cpp") -> str:
    return source_for(entry.preset, backend, name=entry.name)


def test_the_32b_can_be_fetched_ready_or_made_of_the_unquantised_file(home: Path) -> None:
    entry = preset(NAME)
    found = building(entry)
    assert source(entry).endswith("-Q3_K_S.gguf")
    assert found is not None
    assert isinstance(found.source, HuggingFace)
    assert found.source.file.endswith(F16)
    assert (found.recipe, found.target.name) == (RECIPE, f"{FAMILY}-{RECIPE}.gguf")
    assert found.to_fetch == pytest.approx(65.53e9, rel=0.002)
    assert found.result_bytes == pytest.approx(15.68e9, rel=0.002)
    assert takes(found) == "65.5 GB to fetch, 15.7 GB made of them, 82.3 GB free needed"


def test_every_recipe_of_a_built_in_is_one_that_there_is() -> None:
    recipes = [entry.preset.build.recipe for entry in load_catalog().entries if entry.preset.build is not None]
    assert recipes
    for name in recipes:
        assert find_recipe(name).rules


def test_what_is_made_is_used_and_what_is_removed_is_not(home: Path) -> None:
    file = made()
    entry = preset(NAME)
    assert source(entry) == source(entry, "ollama") == f"file:{file}"
    assert entry.preset.model.quantization == RECIPE
    assert is_built(entry.preset)
    file.unlink()
    entry = preset(NAME)
    assert entry.preset.model.quantization == "Q3_K_S"
    assert not is_built(entry.preset)


def test_who_names_another_file_does_not_get_the_one_that_was_made(home: Path) -> None:
    made()
    write(home, {"extends": NAME, "backends": {"llama_cpp": {"source": "file:/mine.gguf"}}}, NAME)
    entry = preset(NAME)
    assert (source(entry), entry.preset.build) == ("file:/mine.gguf", None)


def test_who_changes_anything_else_gets_it(home: Path) -> None:
    file = made()
    write(home, {"extends": NAME, "context": 2048, "backends": {"llama_cpp": {"kv_cache": "f16"}}})
    assert source(preset()) == f"file:{file}"


def test_the_jobs_of_a_preset_are_those_that_fetch_it_and_those_that_make_it(home: Path, tmp_path: Path) -> None:
    write(home, MINE)
    target = built_file("Some/My Model", RECIPE)
    assert target.name == "My-Model-mixed-4-3.gguf"
    assert job_key(target) in keys(preset())
    assert len(keys(preset())) == 2
    write(home, MINE | {"backends": {"llama_cpp": {"source": f"file:{tmp_path}/out.gguf"}}})
    assert job_key(tmp_path / "out.gguf") in keys(preset())


def test_one_file_has_one_job_by_whichever_way_it_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    mix = find_recipe(RECIPE)
    named = [tmp_path / "folder/out.gguf", tmp_path / "link/out.gguf", tmp_path / "folder/../folder/out.gguf"]
    made_by = {key_of(job_of(Quantize("/source.gguf", str(path), mix))) for path in named}
    assert made_by == {job_key(path) for path in named}
    assert len(made_by) == 1


@pytest.mark.parametrize(
    ("build", "key", "said"),
    [
        ({"source": "hf:me/some/F16.gguf"}, "build.recipe", "missing key"),
        ({"recipe": RECIPE}, "build.source", "missing key"),
        ({"recipe": "../x", "source": "hf:me/some/F16.gguf"}, "build.recipe", "wrong value"),
        ({"recipe": RECIPE, "source": "hf:me/some"}, "build.source", "nothing can be made of it"),
        ({"recipe": RECIPE, "source": "ollama:some"}, "build.source", "nothing can be made of it"),
        ({"recipe": RECIPE, "source": "nowhere"}, "build.source", "wrong source"),
        ({"recipe": RECIPE, "source": "hf:me/some/F16.gguf", "target": "x"}, "build.target", "unknown key"),
    ],
)
def test_a_mistake_in_it_is_named_with_its_line(home: Path, build: dict[str, str], key: str, said: str) -> None:
    write(home, MINE | {"build": build})
    (problem,) = load_catalog().problems
    assert problem.key == key
    assert said in str(problem)
    assert problem.line is not None


def test_a_recipe_that_there_is_not_is_found_when_all_is_checked(home: Path) -> None:
    write(home, MINE | {"build": {"recipe": "mixed-4-2", "source": "hf:me/some/F16.gguf"}})
    assert load_catalog().problems == ()  # a screen that starts reads no recipes
    (problem,) = load_catalog(options_type=registered_options).problems
    assert (problem.key, problem.line is not None) == ("build.recipe", True)
    assert "mixed-4-3" in problem.hint


def test_without_llama_cpp_there_is_nobody_to_run_what_is_made(home: Path) -> None:
    write(home, MINE | {"backend": "ollama", "backends": {"ollama": {"source": "ollama:some"}}})
    (problem,) = load_catalog().problems
    assert isinstance(problem, PresetError)
    assert "what it makes cannot be run" in str(problem)


def test_an_unknown_model_is_told_without_sizes(home: Path) -> None:
    write(home, MINE)
    found = building(preset())
    assert found is not None
    assert (found.to_fetch, found.result_bytes, found.room_bytes, takes(found)) == (None, None, None, "")


def test_what_is_here_already_is_not_fetched(home: Path) -> None:
    found = building(preset(NAME))
    assert found is not None
    here = msgspec.structs.replace(found, located=msgspec.structs.replace(found.located, present=True))
    assert isinstance(here, Building)
    assert here.to_fetch == 0
    assert takes(here) == "15.7 GB made of what is here, 16.8 GB free needed"


@pytest.mark.parametrize(("load", "kept"), [(0.0, True), (99.0, False)])
def test_how_long_making_it_takes_is_kept_only_if_nothing_else_was_going_on(
    home: Path, monkeypatch: pytest.MonkeyPatch, load: float, kept: bool
) -> None:
    measured: list[object] = []

    def estimate(*_: object, **__: object) -> Estimate:
        measured.append(1)
        return Estimate(100.0 * len(measured))

    monkeypatch.setattr(unseen, "estimate_unseen", estimate)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    entry = find(load_catalog(), "32b-mixed-ssd")
    assert seconds_to_make(entry) == 100.0
    assert seconds_to_make(entry) == (100.0 if kept else 200.0)


def test_no_family_s_name_leads_out_of_the_folder() -> None:
    assert file_name("../../../etc/passwd", "x") == "passwd-x.gguf"
    assert file_name("a/..", "../b") == "b.gguf"
    assert "/" not in file_name("a\nb\0c/\\", "x")
