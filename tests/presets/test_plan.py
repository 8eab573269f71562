"""The sidebar's line about a preset."""

from __future__ import annotations

from pathlib import Path

import pytest

from presets.catalog import find, load_catalog
from presets.plan import outlook, size_text
from presets.schema import PresetEntry
from presets.sources import LocalFile, Located, Ollama, locate, parse


@pytest.fixture
def entry(tmp_path: Path) -> PresetEntry:
    return find(load_catalog(tmp_path), "8b-q4_k_m")


def test_the_starter_is_ready_with_its_size(tmp_path: Path) -> None:
    starter = find(load_catalog(tmp_path), "starter")
    look = outlook(starter, "llama_cpp", locate(parse(starter.preset.backends["llama_cpp"]["source"])))
    assert (look.line, look.ready, look.hint) == ("llama.cpp · 0.1 GB · ready", True, "")


def test_a_model_that_is_not_there_has_no_size_and_a_next_step(
    entry: PresetEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSEEK_TUI_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    look = outlook(entry, "llama_cpp", locate(parse(entry.preset.backends["llama_cpp"]["source"])))
    assert (look.line, look.ready, look.size_bytes) == ("llama.cpp · not downloaded", False, None)
    assert "hf download" in look.hint


def test_a_file_that_is_missing_is_said(entry: PresetEntry, tmp_path: Path) -> None:
    look = outlook(entry, "llama_cpp", locate(LocalFile(str(tmp_path / "gone.gguf"))))
    assert (look.line, look.ready) == ("llama.cpp · file missing", False)


def test_a_servers_model_may_be_tried(entry: PresetEntry) -> None:
    look = outlook(entry, "ollama", locate(Ollama("deepseek-r1:8b")))
    assert (look.line, look.ready) == ("Ollama · on a server", True)


def test_a_backend_that_the_preset_does_not_have_is_not_ready(entry: PresetEntry) -> None:
    look = outlook(entry, "echo", Located(present=True))
    assert (look.line, look.ready) == ("echo · not in this preset", False)
    assert look.hint == "This preset can run with: llama_cpp, ollama."


@pytest.mark.parametrize(
    ("size", "text"), [(98_362_432, "0.1 GB"), (8_988_110_976, "9.0 GB"), (1_200_000, "1.2 MB"), (0, "0.0 MB")]
)
def test_sizes_are_short_and_decimal(size: int, text: str) -> None:
    assert size_text(size) == text
