"""An answer of llama.cpp shows how fast the memory is read that its model lies in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from backends.base import Cancel, ChatRequest, Message, Sampling
from backends.events import Done, Timings, Usage
from backends.llama_cpp import LlamaCppBackend
from backends.llama_cpp.binding import GpuDevice
from backends.llama_cpp.loading import OpenModel
from backends.llama_cpp.rates import note_rate
from backends.planning import reached

CARD = GpuDevice("RTX 4060", 8 << 30, 8 << 30)
DONE = Done("stop", Usage(100, 0, 0, 200), Timings(tokens_per_second=50.0))


@pytest.fixture(autouse=True)
def _small_models_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reached, "READING_DECIDES_BYTES", 10_000_000)


@pytest.fixture
def backend(starter_gguf: Path) -> Iterator[LlamaCppBackend]:
    backend = LlamaCppBackend()
    backend.load(str(starter_gguf), LlamaCppBackend.Options(context=512), lambda _progress: None, Cancel())
    yield backend
    backend.unload()


def model_of(backend: LlamaCppBackend) -> OpenModel:
    return backend._warm().model


def test_an_answer_of_the_processor_shows_what_main_memory_gives(backend: LlamaCppBackend) -> None:
    question = ChatRequest((Message("user", "Tell me a long story."),), Sampling(seed=1, max_tokens=40))
    *_, done = backend.chat(question, Cancel())
    assert isinstance(done, Done)
    assert done.timings.tokens_per_second is not None
    rate = reached.recall(reached.MEMORY)
    assert rate is not None
    # The file has 98 MB, and the embedding serves as output layer: a token reads all of it.
    assert rate / done.timings.tokens_per_second == pytest.approx(98e6, rel=0.05)


def test_a_model_whole_on_a_card_shows_what_that_card_gives(backend: LlamaCppBackend) -> None:
    whole = msgspec.structs.replace(model_of(backend), gpu=CARD, engine_layers=31)
    note_rate(whole, DONE)
    assert reached.recall(CARD.description) == pytest.approx(50 * 98e6, rel=0.05)
    assert reached.recall(reached.MEMORY) is None


def test_a_model_in_two_places_or_on_the_disk_shows_neither(backend: LlamaCppBackend) -> None:
    note_rate(msgspec.structs.replace(model_of(backend), gpu=CARD, engine_layers=20), DONE)
    note_rate(msgspec.structs.replace(model_of(backend), gpu=CARD, engine_layers=31, held=("ffn_down",)), DONE)
    note_rate(msgspec.structs.replace(model_of(backend), streamed_bytes=10_000), DONE)
    assert reached.recall(CARD.description) is None
    assert reached.recall(reached.MEMORY) is None


def test_an_engine_that_is_bound_to_fewer_threads_or_cores_teaches_nothing(backend: LlamaCppBackend) -> None:
    for options in (LlamaCppBackend.Options(threads=1), LlamaCppBackend.Options(cpu_affinity="0")):
        note_rate(msgspec.structs.replace(model_of(backend), options=options), DONE)
    assert reached.recall(reached.MEMORY) is None


def test_an_answer_without_figures_shows_nothing(backend: LlamaCppBackend) -> None:
    for done in (Done("stopped"), Done("stop", Usage(), DONE.timings), Done("stop", DONE.usage, Timings())):
        note_rate(model_of(backend), done)
    assert reached.recall(reached.MEMORY) is None
