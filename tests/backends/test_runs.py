"""What a model did here the last times: kept by its host, found again by its model, backend and options."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backends import remembered, runs
from backends.base import Loaded
from backends.events import Done, Timings, Usage
from backends.host import measuring
from backends.host.wire import HostSpec
from backends.runs import Measured, Run
from tests import fake_driver

OPTIONS = {"context": 2048, "gpu_layers": "auto"}


def one(speed: float, **more: Any) -> Measured:
    return Measured(runs=(Run(speed, 100, 500),), **more)


async def kept(spec: Any, answers: int) -> Measured:
    """Wait until the host, which answers first and writes then, has kept so many."""
    for _ in range(200):
        found = runs.recall(spec.backend, spec.model, spec.options)
        if found is not None and len(found.runs) == answers:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"{answers} answers were not kept")


def test_nothing_is_measured_of_what_never_ran() -> None:
    assert runs.recall("llama_cpp", "/models/a.gguf", OPTIONS) is None


def test_the_speed_is_the_median_of_the_last_answers(tmp_path: Path) -> None:
    model = tmp_path / "a.gguf"
    model.write_bytes(b"1")
    for speed in (1.0, *(20.0 + number for number in range(runs.KEPT))):
        runs.record("llama_cpp", str(model), OPTIONS, one(speed, gpu_layers=38, layers=48))
    found = runs.recall("llama_cpp", str(model), OPTIONS)
    assert found is not None
    assert [run.tokens_per_second for run in found.runs] == [20.0 + number for number in range(runs.KEPT)]
    assert (found.tokens_per_second, found.gpu_layers, found.layers) == (23.5, 38, 48)


def test_another_file_other_options_or_another_backend_have_measured_nothing(tmp_path: Path) -> None:
    model = tmp_path / "a.gguf"
    model.write_bytes(b"1")
    runs.record("llama_cpp", str(model), OPTIONS, one(20.0))
    assert runs.recall("llama_cpp", str(model), dict(reversed(OPTIONS.items()))) is not None
    assert runs.recall("llama_cpp", str(model), {**OPTIONS, "context": 4096}) is None
    assert runs.recall("ollama", str(model), OPTIONS) is None
    model.write_bytes(b"22")
    assert runs.recall("llama_cpp", str(model), OPTIONS) is None


def test_the_time_of_loading_is_kept_from_an_answer_that_had_one(tmp_path: Path) -> None:
    runs.record("echo", "m", OPTIONS, one(20.0, load_s=3.0))
    runs.record("echo", "m", OPTIONS, one(21.0))
    found = runs.recall("echo", "m", OPTIONS)
    assert found is not None
    assert found.load_s == 3.0


@pytest.mark.parametrize("strange", ["text", [], {"runs": 3}, {"runs": [{"tokens_per_second": "fast"}]}, 7, None])
def test_what_is_not_understood_counts_as_nothing(strange: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.record("echo", "m", OPTIONS, one(20.0))
    monkeypatch.setattr(remembered, "read", lambda _kind, _key: strange)
    assert runs.recall("echo", "m", OPTIONS) is None


async def test_a_host_keeps_what_its_answers_show(hosts: Any) -> None:
    spec = hosts.spec(text="word " * 40, tokens_per_second=200.0)
    client = await hosts.loaded(spec)
    for answer in ("a1", "a2"):
        await hosts.ask(client, answer)
    found = await kept(spec, 2)
    assert found.tokens_per_second == pytest.approx(200, rel=0.25)
    assert found.ram_bytes is not None
    assert 5_000_000 < found.ram_bytes < 500_000_000
    assert found.context == client.status.loaded.context


async def test_an_answer_of_a_few_words_says_nothing_about_the_speed(hosts: Any) -> None:
    spec = hosts.spec(text="one two three")
    client = await hosts.loaded(spec)
    await hosts.ask(client, "a1")
    await client.shutdown()
    assert runs.recall(spec.backend, spec.model, spec.options) is None


def test_what_a_process_without_layers_there_holds_of_a_card_is_not_called_0() -> None:
    spec = HostSpec("echo", "m", {}, "title", "build")
    done = Done("stop", Usage(10, 0, 0, 100), Timings(tokens_per_second=20.0))
    measuring.keep(spec, Loaded(context=256, layers=30, gpu_layers=0, output_on_gpu=False), done)
    found = runs.recall("echo", "m", {})
    assert found is not None
    assert (found.gpu_layers, found.vram_bytes) == (0, None)


async def test_a_driver_that_hangs_does_not_keep_the_next_answer_waiting(
    hosts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in fake_driver.environment(tmp_path / "driver", "cards 1\nhang 30\n").items():
        monkeypatch.setenv(name, value)
    spec = hosts.spec(text="word " * 40, tokens_per_second=400.0)
    client = await hosts.loaded(spec)
    for answer in ("a1", "a2", "a3"):
        await hosts.ask(client, answer)
    found = await kept(spec, 3)
    assert found.vram_bytes is None
