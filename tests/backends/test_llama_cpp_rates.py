"""An answer of llama.cpp shows how fast the memory is read that its model lies in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from backends.base import Cancel, ChatRequest, Message, Sampling
from backends.events import Done, Timings, Usage
from backends.hardware import bandwidth
from backends.hardware.disk import disk_under
from backends.hardware.speed import Speed
from backends.llama_cpp import LlamaCppBackend, rates
from backends.llama_cpp.binding import GpuDevice
from backends.llama_cpp.loading import OpenModel
from backends.llama_cpp.rates import Reading, note_rate, reading
from backends.planning import reached

Stream = Callable[..., int | None]
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


def test_types_that_the_cpu_looks_up_in_tables_teach_nothing_of_memory_or_disk(
    backend: LlamaCppBackend,
) -> None:
    model = model_of(backend)
    tabled = msgspec.structs.replace(model, shape=msgspec.structs.replace(model.shape, type_bytes=(("iq3_s", 98),)))
    note_rate(tabled, DONE)
    note_rate(msgspec.structs.replace(tabled, streamed_bytes=10_000), DONE, Reading(0.0, 0))
    assert reached.recall(reached.MEMORY) is None
    assert reached.recall_disk(disk_under(model.path.parent)) is None
    note_rate(msgspec.structs.replace(tabled, gpu=CARD, engine_layers=31), DONE)
    assert reached.recall(CARD.description) is not None


def test_an_answer_without_figures_shows_nothing(backend: LlamaCppBackend) -> None:
    for done in (Done("stopped"), Done("stop", Usage(), DONE.timings), Done("stop", DONE.usage, Timings())):
        note_rate(model_of(backend), done)
    assert reached.recall(reached.MEMORY) is None


# A model that streams shows how fast its disk is.

GB = 10**9


@pytest.fixture
def streams(backend: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch) -> Stream:
    """Tell of an answer whose 20 tokens took 10 s and had some of 2 GB read; return what is known of the disk then."""
    model = msgspec.structs.replace(model_of(backend), streamed_bytes=98_000_000)
    monkeypatch.setattr(reached, "LEAST_DISK_BYTES", 1)

    def stream(read_bytes: int, memory: int | None = 100 * GB, **options: str) -> int | None:
        now = Reading(110.0, 10**12 + read_bytes)
        monkeypatch.setattr(rates, "reading", lambda _model: now)
        monkeypatch.setattr(bandwidth, "recall", lambda: None if memory is None else Speed(memory, "measured"))
        streamed = msgspec.structs.replace(model, options=LlamaCppBackend.Options(context=512, **options))
        done = Done("stop", Usage(100, 0, 0, 21), Timings(tokens_per_second=2.0))
        note_rate(streamed, done, Reading(100.0, 10**12))
        return reached.recall_disk(disk_under(model.path.parent))

    return stream


def test_what_was_really_read_tells_the_speed_of_the_disk(streams: Stream) -> None:
    assert streams(1_900_000_000) == 190_000_000
    assert reached.recall(reached.MEMORY) is None


def test_without_read_ahead_the_time_of_the_cpu_is_not_the_disks(streams: Stream) -> None:
    # 20 tokens of 98 MB at 0.7 of 0.7 GB/s take 4 s; the disk had the other 6.
    assert streams(1_900_000_000, memory=700_000_000, read_ahead="off") == pytest.approx(317e6, rel=0.05)


def test_where_the_cpu_is_waited_for_or_memory_held_it_after_all_the_disk_is_not_judged(streams: Stream) -> None:
    assert streams(1_900_000_000, memory=300_000_000) is None
    assert streams(1_600_000_000) is None


def test_a_bandwidth_that_nobody_knows_is_no_hindrance(streams: Stream) -> None:
    assert streams(1_900_000_000, memory=None) == 190_000_000


def test_only_a_model_that_streams_is_read_from_the_disk(backend: LlamaCppBackend) -> None:
    model = model_of(backend)
    assert reading(model) is None
    first = reading(msgspec.structs.replace(model, streamed_bytes=5))
    if first is not None:  # the kernel counts
        assert first.read_bytes >= 0
        again = reading(msgspec.structs.replace(model, streamed_bytes=5))
        assert again is not None
        assert again.at_s >= first.at_s
