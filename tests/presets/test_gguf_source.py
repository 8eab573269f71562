"""`source = "gguf"` of Ollama: the file of llama.cpp, wherever it is, handed to the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from presets.catalog import find, load_catalog
from presets.plan import outlook
from presets.problems import PresetError
from presets.schema import options_for, source_for
from presets.sources import locate, parse
from tests.gguf_files import QWEN_1_5B
from tests.models_here import gguf
from tui.chat.target import resolve

MINE = """\
title = "Mine"
backend = "ollama"
context = 4096
[model]
family = "f"
quantization = "q"
[backends.ollama]
source = "gguf"
"""


@pytest.fixture
def write(home: Path) -> Path:
    folder = home / "config/presets"
    folder.mkdir(parents=True)
    return folder / "mine.toml"


def test_it_is_the_file_of_llama_cpp(write: Path, tmp_path: Path) -> None:
    file = gguf(tmp_path / "m.gguf", QWEN_1_5B)
    write.write_text(f'{MINE}[backends.llama_cpp]\nsource = "file:{file}"\n')
    entry = find(load_catalog(), "mine")
    assert source_for(entry.preset, "ollama") == f"file:{file}"
    target = resolve(entry)
    assert (target.spec.backend, target.spec.model) == ("ollama", str(file))
    assert target.spec.options["context"] == 4096
    assert "source" not in options_for(entry.preset, "ollama")
    look = outlook(entry, "ollama", locate(parse(source_for(entry.preset, "ollama"))))
    assert look.ready
    file.unlink()
    look = outlook(entry, "ollama", locate(parse(source_for(entry.preset, "ollama"))))
    assert (look.line, look.ready) == ("Ollama · file missing", False)


def test_a_preset_that_builds_on_another_imports_its_file(write: Path) -> None:
    write.write_text('extends = "starter"\nbackend = "ollama"\n[backends.ollama]\nsource = "gguf"\n')
    assert resolve(find(load_catalog(), "mine")).spec.model.endswith("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ("", "there is no file of llama.cpp to import"),
        ('[backends.llama_cpp]\nsource = "server:x"\n', "no GGUF file"),
        ('[backends.llama_cpp]\nsource = "ollama:x"\n', "no GGUF file"),
        ('[backends.llama_cpp]\nsource = "hf:me/folder"\n', "no GGUF file"),
        ('[backends.llama_cpp]\nsource = "gguf"\n', "it does not say where the model is"),
    ],
)
def test_without_such_a_file_it_is_a_mistake(write: Path, more: str, note: str) -> None:
    write.write_text(MINE + more)
    (problem,) = load_catalog().problems
    assert problem.note.endswith(note)
    assert problem.line == (8 if "backends.ollama" in problem.key else 10)


def test_no_other_backend_knows_it(write: Path) -> None:
    write.write_text(MINE.replace("ollama", "echo") + '[backends.llama_cpp]\nsource = "file:/x"\n')
    (problem,) = load_catalog().problems
    assert isinstance(problem, PresetError)
    assert problem.key == "backends.echo.source"
