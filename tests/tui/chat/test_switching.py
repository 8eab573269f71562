"""The next backend of a preset: in the preset's order, only one that can be used, with a reason for each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.base import Availability
from presets.catalog import load_catalog
from presets.schema import PresetEntry
from tui.chat.switching import next_backend

PRESET = """title = "Many"
backend = "echo"
[model]
family = "echo"
quantization = "none"
[backends.echo]
source = "server:a"
[backends.llama_cpp]
source = "file:/nowhere/model.gguf"
[backends.ollama]
source = "ollama:a:1b"
[backends.openai]
source = "server:a"
base_url = "http://127.0.0.1:1/v1"
"""


@pytest.fixture
def entry(home: Path) -> PresetEntry:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "many.toml").write_text(PRESET)
    return next(entry for entry in load_catalog().entries if entry.name == "many")


def test_the_next_one_that_can_be_used_is_taken_and_the_others_say_why_not(entry: PresetEntry) -> None:
    asked = []

    def probe(name: str, options: dict[str, object]) -> Availability:
        asked.append((name, options.get("base_url")))
        down = Availability(False, detail="the server does not answer", hint="Start it.")
        return down if name == "ollama" else Availability(True)

    found = next_backend(entry, "echo", None, probe)

    assert found.target is not None
    assert found.target.spec.backend == "openai"
    assert asked == [("ollama", None), ("openai", "http://127.0.0.1:1/v1")]
    assert [refusal.backend for refusal in found.refusals] == ["llama_cpp", "ollama"]
    assert "/nowhere/model.gguf" in found.refusals[0].sentence
    assert found.refusals[1].sentence == "Ollama: the server does not answer. Start it."


def test_after_the_last_comes_the_first(entry: PresetEntry) -> None:
    found = next_backend(entry, "openai", None, lambda _name, _options: Availability(True))
    assert found.target is not None
    assert found.target.spec.backend == "echo"
    assert found.refusals == ()


def test_where_no_other_can_be_used_there_is_none_and_every_reason(entry: PresetEntry) -> None:
    found = next_backend(entry, "echo", None, lambda name, _options: Availability(False, detail=f"no {name}"))
    assert found.target is None
    assert [refusal.backend for refusal in found.refusals] == ["llama_cpp", "ollama", "openai"]


def test_one_that_could_be_started_says_with_what(entry: PresetEntry) -> None:
    def probe(name: str, _options: dict[str, object]) -> Availability:
        return Availability(False, detail="down", startable="ollama serve" if name == "ollama" else "")

    startable = [r for r in next_backend(entry, "echo", None, probe).refusals if r.startable]

    assert [(r.backend, r.startable) for r in startable] == [("ollama", "ollama serve")]
    assert startable[0].target is not None
    assert startable[0].target.spec.model == "a:1b"


def test_the_settings_keep_alive_goes_over_the_switch(entry: PresetEntry) -> None:
    found = next_backend(entry, "openai", 7.0, lambda _name, _options: Availability(True))
    assert found.target is not None
    assert found.target.spec.keep_alive_s == 7.0
