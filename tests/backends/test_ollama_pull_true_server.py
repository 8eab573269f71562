"""A true Ollama server that is told to fetch: what it says of a library that is not there, and of a model that is.

    OLLAMA_HOST=http://127.0.0.1:11434 python -m pytest -m ollama tests/backends/test_ollama_pull_true_server.py

DEEPSEEK_TUI_TEST_OLLAMA_PULL names a small model that may be fetched, and is removed before and afterwards.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from backends.base import Cancel
from backends.errors import BackendError, ModelNotFound, ServerUnreachable
from backends.hub import patience
from backends.jobs import files, launch
from backends.jobs.job import JobSpec, Progress
from backends.jobs.report import Report
from backends.ollama import pulling
from backends.ollama.wanted import KIND, wanted

_HOST = os.environ.get("OLLAMA_HOST", "")
_TAG = os.environ.get("DEEPSEEK_TUI_TEST_OLLAMA_PULL", "")

pytestmark = pytest.mark.ollama
if not _HOST:
    _RUN = "OLLAMA_HOST=http://127.0.0.1:11434 python -m pytest -m ollama"
    pytest.skip(f"no Ollama server is named: {_RUN}", allow_module_level=True)


def refused(tag: str, folder: Path) -> BackendError:
    """Have a model fetched; return why that failed."""
    files.replace(folder / files.PROGRESS, Progress())
    with Report(folder, Cancel()) as report, pytest.raises(BackendError) as raised:
        pulling.run(msgspec.to_builtins(wanted(tag, _HOST)), report, Cancel())
    return raised.value


def test_a_library_that_is_not_there_is_told(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_S", 0.3)
    error = refused("localhost:1/library/nothing:latest", tmp_path)
    assert isinstance(error, ServerUnreachable)
    assert error.title == "Ollama cannot reach its library"


def test_what_is_no_name_of_a_model_is_told(tmp_path: Path, home: Path) -> None:
    error = refused("a/b/c/d/e:f:g", tmp_path)
    assert isinstance(error, ModelNotFound)


@pytest.fixture
def tag() -> Iterator[str]:
    import ollama

    if not _TAG:
        pytest.skip("DEEPSEEK_TUI_TEST_OLLAMA_PULL names no model to fetch")
    client = ollama.Client(host=_HOST)
    with contextlib.suppress(ollama.ResponseError):
        client.delete(_TAG)
    yield _TAG
    with contextlib.suppress(ollama.ResponseError):
        client.delete(_TAG)


def test_a_model_is_stopped_and_gone_on_with_and_then_there(tag: str, home: Path) -> None:
    pull = wanted(tag, _HOST)
    spec = JobSpec(KIND, pull.target, tag, msgspec.to_builtins(pull))
    for view in launch.watch(launch.start(spec).key, 0.05):
        if view.progress.done_bytes:
            break
    assert launch.stop(view.key)
    stopped = launch.view(view.key)
    assert stopped is not None
    assert stopped.state == "stopped"
    assert not pulling.has(pull)
    seen = list(launch.watch(launch.start(spec).key, 0.05))
    assert seen[-1].state == "done", seen[-1].progress
    first = next(view.progress.done_bytes for view in seen if view.progress.done_bytes)
    assert first >= stopped.progress.done_bytes
    assert seen[-1].progress.done_bytes == seen[-1].progress.total_bytes
    assert pulling.has(pull)
