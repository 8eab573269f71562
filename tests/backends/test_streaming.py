"""A model that main memory does not hold: it answers the same, reads ahead, holds a part, and harms nobody.

Here the machine only says that it has so little; real groups with too little memory are in test_streaming_group.py.
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from backends import paths
from backends.base import Cancel, Cancelled, ChatRequest, Loaded, Message, Sampling
from backends.events import LoadProgress, PromptProgress, Text
from backends.gguf.files import read_shape
from backends.hardware.memory import Ram, ram
from backends.llama_cpp import LlamaCppBackend, LlamaCppOptions, binding, context, loading, tuning
from backends.llama_cpp.streaming import hold, stream
from backends.llama_cpp.streaming.ranges import Span, total
from backends.llama_cpp.streaming.stream import Stream

MIB = 1024**2
SEA = "Tell me about the sea."
SHORT = Sampling(temperature=0, max_tokens=6)

linux = pytest.mark.skipif(not hold.possible(), reason="this system has no advice for its page cache")


class Small:
    """A machine whose memory can be set, and a backend on it."""

    def __init__(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = model
        self.available: int | None = 175 * MIB
        self.backend = LlamaCppBackend()
        self.reports: list[LoadProgress] = []
        monkeypatch.setattr(context, "ram", self._ram)
        monkeypatch.setattr(loading, "ram", self._ram)

    def load(self, **options: object) -> Loaded:
        fields = {"threads": 1, "context": 512, "gpu_layers": 0, **options}
        self.reports.clear()
        return self.backend.load(
            str(self.model), msgspec.convert(fields, LlamaCppOptions), self.reports.append, Cancel()
        )

    def ask(self, question: str = SEA, chat: str = "", sampling: Sampling = SHORT) -> str:
        request = ChatRequest((Message("user", question),), sampling, chat=chat)
        return "".join(event.text for event in self.backend.chat(request, Cancel()) if isinstance(event, Text))

    @property
    def stream(self) -> Stream:
        found = self.backend._opened().stream
        assert found is not None
        return found

    def _ram(self) -> Ram:
        return msgspec.structs.replace(ram(), available_bytes=self.available)


@pytest.fixture(scope="module")
def copy(starter_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of our own: others may have the starter model mapped."""
    path = tmp_path_factory.mktemp("model") / "model.gguf"
    shutil.copyfile(starter_gguf, path)
    return path


@pytest.fixture
def small(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    machine = Small(copy, monkeypatch)
    yield machine
    machine.backend.unload()


def followers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in {"stream", "progress"}]


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_model_that_fits_is_untouched(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    create = loading.create_context

    def watched(*given: Any, **more: Any) -> int:
        asked.append(more.get("follower"))
        return create(*given, **more)

    monkeypatch.setattr(loading, "create_context", watched)
    small.available = 8 * 1024**3
    loaded = small.load()
    opened = small.backend._opened()
    assert (opened.stream, opened.streamed_bytes, asked) == (None, 0, [None])
    assert followers() == []
    assert not any("disk" in note for note in loaded.notes)
    assert small.ask()


@linux
def test_all_ways_of_streaming_say_the_same(small: Small) -> None:
    answers = {}
    for name, options in {
        "plain": {"read_ahead": "off", "hold_gib": 0},
        "ahead": {"hold_gib": 0},
        "held": {"read_ahead": "off"},
        "both": {},
    }.items():
        small.load(**options)
        answers[name] = small.ask()
        assert (small.backend._opened().stream is None) == (name == "plain")
    assert len(answers["plain"]) > 10
    assert set(answers.values()) == {answers["plain"]}


@linux
def test_the_user_is_told_what_memory_holds_and_what_each_token_reads(small: Small) -> None:
    loaded = small.load()
    now, read = small.stream.now, read_shape(small.model).weight_bytes
    assert now.held > 10 * MIB
    assert now.streamed > 10 * MIB
    assert now.held + now.streamed == pytest.approx(read, rel=0.01)
    assert small.backend._opened().streamed_bytes == now.streamed
    assert any(
        f"Main memory holds {now.held / 1e9:.1f} of the" in note and f"{now.streamed / 1e9:.1f} GB come from" in note
        for note in loaded.notes
    )


@linux
def test_what_streams_leaves_memory_after_its_use_and_the_rest_stays(small: Small) -> None:
    small.load()
    small.ask()
    follower = small.stream
    until(lambda: follower._given_back == follower._at)
    units = follower._ranges.units
    current = follower._at % len(units)
    held = [span for unit in units for span in unit.held if span.size > MIB]
    gone = [span for place, unit in enumerate(units[:current]) for span in unit.streamed if current - place > 2]
    if not all(map(in_memory_of(small.model), held)):
        pytest.skip("this file system does not tell what is in memory")
    # What comes next has been fetched already, that is after the last token the model's first layers.
    assert not all(in_memory_of(small.model)(span) for span in gone[len(gone) // 2 :])


def in_memory_of(path: Path) -> Callable[[Span], bool]:
    def there(span: Span) -> bool:
        file = os.open(path, os.O_RDONLY)
        try:
            return os.preadv(file, [bytearray(1)], (span.start + span.end) // 2, os.RWF_NOWAIT) == 1
        except OSError:
            return False
        finally:
            os.close(file)

    return there


@linux
def test_a_limit_of_the_preset_is_kept(small: Small) -> None:
    small.load(hold_gib=0.01)
    assert small.stream.now.held == pytest.approx(0.01 * 1024**3, abs=10 * MIB)
    small.load(hold_gib=0)
    assert small.stream.now.held == 0


@linux
def test_held_weights_are_given_back_when_memory_is_short_and_taken_again_later(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(stream, "SLACK_BYTES", 4 * MIB)
    small.load()
    held = small.stream.now.held
    # The buffers are in use by now, and what is held still counts as available.
    small.available = held + 24 * MIB
    small.ask()
    assert small.stream.now.held == held
    small.available = held // 2 + 24 * MIB
    said = small.ask()
    until(lambda: small.stream.now.held == pytest.approx(held // 2, abs=9 * MIB))
    small.available = 2 * held
    small.ask()
    assert small.stream.now.held == pytest.approx(held // 2, abs=9 * MIB)
    monkeypatch.setattr(stream, "TAKE_AGAIN_S", 0.0)
    assert small.ask() == said
    until(lambda: small.stream.now.held > held * 3 // 4)


@linux
def test_where_nothing_is_read_any_more_it_is_left_alone_until_something_is(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, read = 0, itertools.count(1)
    monkeypatch.setattr(stream, "read_bytes", lambda: step * next(read))
    small.load(hold_gib=0)
    small.ask()
    until(lambda: small.stream.quiet)
    before, stops, wake = small.stream._at, list[int](), small.stream._wake.set
    small.stream._wake.set = lambda: stops.append(small.stream._at)  # type: ignore[method-assign]
    said = small.ask()
    # The engine is stopped once a pass.
    units = len(small.stream._ranges.units)
    assert stops == list(range(before // units * units + units, stops[-1] + 1, units))
    small.stream._wake.set = wake  # type: ignore[method-assign]
    step = 1024**3
    assert small.ask() == said
    until(lambda: not small.stream.quiet)


@linux
@pytest.mark.parametrize("failing", ["advice", "maps", "name", "files", "thread"])
def test_whatever_fails_the_model_answers_from_its_map(
    small: Small, monkeypatch: pytest.MonkeyPatch, failing: str, capfd: pytest.CaptureFixture[str]
) -> None:
    small.load(read_ahead="off", hold_gib=0)
    plain = small.ask()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(22, "Invalid argument")

    if failing == "advice":
        monkeypatch.setattr(os, "posix_fadvise", refuse)
    elif failing == "maps":
        monkeypatch.setattr(stream, "maps_of", lambda _files: ())
    elif failing == "name":
        monkeypatch.setattr(binding, "node_name", refuse)
    elif failing == "files":
        monkeypatch.setattr(stream, "os", SimpleNamespace(open=refuse, close=os.close, O_RDONLY=0, O_CLOEXEC=0))
    else:
        monkeypatch.setattr(Stream, "_step", refuse)
    loaded = small.load()
    opened = small.backend._opened()
    if failing in {"name", "files"}:
        assert opened.stream is None
    if failing == "maps":
        assert small.stream.now.held == 0
    if failing in {"name", "files", "maps"}:
        assert any("Main memory holds 0.0 of" in note for note in loaded.notes)
    assert small.ask() == plain
    if failing == "thread":
        assert "Reading ahead has ended" in capfd.readouterr().err


def test_another_system_runs_it_from_its_map(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "possible", lambda: False)
    loaded = small.load()
    assert small.backend._opened().stream is None
    assert small.backend._opened().streamed_bytes > 50 * MIB
    assert any("come from the disk each time" in note for note in loaded.notes)
    assert small.ask()


@linux
def test_loading_tells_its_progress_and_never_goes_back(small: Small) -> None:
    small.load()
    for stage in ("reading", "warming"):
        fractions = [report.fraction for report in small.reports if report.stage == stage and report.fraction]
        assert fractions == sorted(fractions)
    assert any(report.fraction == 1 for report in small.reports)


@linux
def test_it_can_be_stopped_while_it_loads_and_while_it_answers(small: Small) -> None:
    options = msgspec.convert({"threads": 1, "context": 512, "gpu_layers": 0}, LlamaCppOptions)
    cancel = Cancel()

    def stop(progress: LoadProgress) -> None:
        if progress.stage == "warming":
            cancel.set()

    with pytest.raises(Cancelled):
        small.backend.load(str(small.model), options, stop, cancel)
    assert followers() == []
    small.load()
    stopped = Cancel()
    request = ChatRequest((Message("user", "word " * 300),), SHORT)
    for event in small.backend.chat(request, stopped):
        if isinstance(event, PromptProgress):
            stopped.set()
    assert small.ask()


@linux
def test_unloading_ends_the_thread_and_closes_the_files(small: Small) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        small.load()
        assert followers() == ["stream"]
        small.backend.unload()
    assert followers() == []
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_a_prompt_goes_in_whole_batches_since_each_is_a_pass_through_the_model(small: Small) -> None:
    small.load()
    decoder = small.backend._opened().decoder
    assert decoder.slices.size() == decoder.slice


def test_nothing_is_written_for_chats_unless_the_preset_says_so(small: Small) -> None:
    question = "Tell me about the sea, its tides and its storms. " * 12
    small.load(context=1024)
    small.ask(question, "one")
    small.backend.unload()
    assert list(paths.chat_states().glob("*.kv")) == []
    small.load(context=1024, saved_chats_gib=1)
    small.ask(question, "two")
    small.backend.unload()
    assert len(list(paths.chat_states().glob("*.kv"))) == 1


def test_no_threads_are_tried_out_since_each_trial_would_read_gigabytes(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.load(threads="auto")
    monkeypatch.setattr(tuning, "usable_cores", lambda: 8)
    monkeypatch.setattr(tuning, "tune", lambda *_, **__: pytest.fail("a trial"))
    assert tuning.tune_when_idle(small.backend._opened(), Cancel())


def test_the_sum_of_its_parts_is_the_plan_s(small: Small) -> None:
    wanted = context.wanted_stream(
        small.model, read_shape(small.model), LlamaCppOptions(context=512), 0, (), on_card=False
    )
    assert wanted is not None
    assert wanted.ranges is not None
    assert wanted.read == wanted.ranges.read_bytes
    assert total(span for unit in wanted.ranges.units for span in unit.held) == wanted.read
    assert wanted.read == pytest.approx(read_shape(small.model).weight_bytes, rel=0.01)
