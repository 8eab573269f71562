"""Finding the best number of threads: the race with simulated speeds, and all of it with a real model."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from backends import remembered
from backends.base import Cancel
from backends.hardware.cpu_limits import usable_cores
from backends.llama_cpp import LlamaCppOptions, binding, thread_counts, tuning
from backends.llama_cpp.decode import OK
from backends.llama_cpp.loading import OpenModel, open_on
from backends.llama_cpp.thread_counts import ThreadCounts, remembered_threads
from backends.llama_cpp.tuning import choose, race, thread_candidates, tune_when_idle

AUTO = LlamaCppOptions(context=512)


@pytest.mark.parametrize(
    ("cores", "cpus", "candidates"),
    [(1, 1, (1,)), (1, 2, (1, 2)), (2, 2, (2, 1)), (8, 16, (8, 7, 4, 2, 16, 1)), (16, 16, (16, 15, 8, 4, 1))],
)
def test_cores_fractions_of_them_and_sibling_threads_are_tried(cores: int, cpus: int, candidates: tuple) -> None:
    assert thread_candidates(cores, cpus) == candidates


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({8: 0.100, 4: 0.102, 1: 0.3}, 4),
        ({8: 0.100, 4: 0.104, 1: 0.3}, 8),
        ({2: math.inf, 1: 0.5}, 1),
        ({2: math.inf, 1: math.inf}, None),
        ({2: 0.1}, None),
        ({}, None),
    ],
)
def test_the_fewest_threads_within_3_percent_of_the_best_are_chosen(seconds: dict, chosen: int | None) -> None:
    assert choose(seconds) == chosen


class Track:
    """A clock that only the simulated runs move, and seconds a call for each candidate."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, speeds: dict[int, float]) -> None:
        self.now = 0.0
        self.speeds = speeds
        self.turns: list[int] = []
        monkeypatch.setattr(tuning, "time", SimpleNamespace(monotonic=lambda: self.now))

    def sample(self, threads: int, limit_s: float) -> list[float]:
        self.turns.append(threads)
        needs = self.speeds[threads]
        self.now += min(needs, limit_s)
        return [needs] if needs <= limit_s else []


def test_candidates_take_turns_and_the_hopeless_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    track = Track(monkeypatch, {8: 0.010, 4: 0.011, 1: 0.080})
    medians = race((8, 4, 1), track.sample, Cancel(), 2.0)
    assert medians == {8: 0.010, 4: 0.011, 1: 0.080}
    assert track.turns[:7] == [8, 4, 1, 4, 8, 8, 4]
    assert track.turns.count(1) == 1
    assert track.turns.count(8) == track.turns.count(4) == 12


def test_a_race_keeps_to_its_budget_with_a_model_too_slow_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    track = Track(monkeypatch, {8: 0.5, 7: 0.4, 4: 1.4, 2: 3.0, 1: 6.0})
    medians = race((8, 7, 4, 2, 1), track.sample, Cancel(), 1.2)
    assert track.now <= 1.2
    assert medians == {8: 0.5, 7: 0.4}
    track = Track(monkeypatch, {2: 9.0, 1: 9.0})
    assert race((2, 1), track.sample, Cancel(), 1.2) == {2: math.inf, 1: math.inf}
    assert track.now <= 1.2


def test_threads_that_others_hold_up_are_cut_off_and_fewer_win(monkeypatch: pytest.MonkeyPatch) -> None:
    track = Track(monkeypatch, {2: 30.0, 1: 0.02})
    assert choose(race((2, 1), track.sample, Cancel(), 1.2)) == 1
    assert track.turns == [2, 1]


def test_a_disturbance_in_one_turn_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    track = Track(monkeypatch, {2: 0.010, 1: 0.014})
    plain = track.sample

    def disturbed(threads: int, limit_s: float) -> list[float]:
        return [0.012] if len(track.turns) == 0 and not track.turns.append(threads) else plain(threads, limit_s)

    assert choose(race((2, 1), disturbed, Cancel(), 2.0)) == 2


@pytest.fixture
def opened(starter_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenModel]:
    """A model with 40 tokens in its KV cache, on a machine that is said to be quiet and to have two cores."""
    monkeypatch.setattr(tuning, "usable_cores", lambda: 2)
    monkeypatch.setattr(tuning, "usable_cpus", lambda: 2)
    monkeypatch.setattr(tuning, "_others_busy", lambda _cancel: False)
    model = open_on(binding.library(), None, starter_gguf, AUTO, lambda _progress: None, Cancel(), [])
    assert model.decoder.extend(model.vocabulary.tokenize("the sea " * 20)) == OK
    yield model
    model.free()


def threads_of(model: OpenModel) -> tuple[int, int]:
    lib, context = model.lib, model.decoder.context
    return lib.llama_n_threads(context), lib.llama_n_threads_batch(context)


def positions(model: OpenModel) -> int:
    """Return how many tokens the engine itself says are in the KV cache."""
    return model.lib.llama_memory_seq_pos_max(model.lib.llama_get_memory(model.decoder.context), 0) + 1


def follow(model: OpenModel, tokens: int = 6) -> list[int]:
    """Continue greedily from the last token."""
    (last,) = model.decoder.tokens[-1:]
    model.decoder.truncate(len(model.decoder.tokens) - 1)
    chain = model.lib.llama_sampler_init_greedy()
    said = [last]
    for _ in range(tokens):
        assert model.decoder.extend(said[-1:]) == OK
        said.append(model.lib.llama_sampler_sample(chain, model.decoder.context, -1))
    model.lib.llama_sampler_free(chain)
    return said


def test_a_measurement_leaves_the_kv_cache_and_the_threads_as_they_were(opened: OpenModel) -> None:
    tokens, threads = list(opened.decoder.tokens), threads_of(opened)
    expected = follow(opened)
    opened.decoder.truncate(len(tokens))
    started = time.monotonic()
    token = opened.vocabulary.first_token()
    tuned = tuning.tune(opened.lib, opened.decoder, token, (2, 1), Cancel(), 4.0)
    assert time.monotonic() - started < 5.0
    assert tuned is not None
    assert set(tuned.decode_speeds) == {1, 2}
    assert max(tuned.decode_speeds.values()) > 1
    assert opened.decoder.tokens == tokens
    assert (positions(opened), threads_of(opened)) == (len(tokens), threads)
    assert follow(opened) == expected


def test_a_measurement_stops_at_once_and_can_be_taken_up_later(opened: OpenModel) -> None:
    tokens = list(opened.decoder.tokens)
    cancel, stopped = Cancel(), []
    timer = threading.Timer(0.2, lambda: (stopped.append(time.monotonic()), cancel.set()))
    timer.start()
    assert tune_when_idle(opened, cancel, 60.0) is False
    assert time.monotonic() - stopped[0] < 0.5
    assert opened.decoder.tokens == tokens
    assert positions(opened) == len(tokens)
    assert remembered_threads(AUTO, opened.path, 0) is None


def test_what_was_measured_is_used_now_and_by_the_next_load(opened: OpenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tuning.Tuned(ThreadCounts(1, 2), {1: 2.0, 2: 1.0}, {})
    monkeypatch.setattr(tuning, "tune", lambda *_args, **_more: found)
    assert tune_when_idle(opened, Cancel()) is True
    assert threads_of(opened) == (1, 2)
    monkeypatch.setattr(tuning, "tune", None)
    assert tune_when_idle(opened, Cancel()) is True
    again = open_on(opened.lib, None, opened.path, AUTO, lambda _progress: None, Cancel(), [])
    assert threads_of(again) == (1, 2)
    again.free()
    fixed = msgspec.structs.replace(AUTO, threads=3)
    set_by_hand = open_on(opened.lib, None, opened.path, fixed, lambda _progress: None, Cancel(), [])
    assert threads_of(set_by_hand) == (3, 3)
    set_by_hand.free()
    assert remembered_threads(AUTO, opened.path, 5) is None


def test_what_was_measured_beside_others_is_used_and_not_remembered(
    opened: OpenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "_others_busy", lambda _cancel: True)
    monkeypatch.setattr(tuning, "tune", lambda *_args, **_more: tuning.Tuned(ThreadCounts(1, 1), {1: 2.0, 2: 1.0}, {}))
    assert tune_when_idle(opened, Cancel()) is False
    assert threads_of(opened) == (1, 1)
    assert remembered_threads(AUTO, opened.path, 0) is None


def test_others_at_work_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for busy_s, expected in ((0.0, False), (0.2, True)):
        readings = iter([100.0, 100.0 + busy_s])
        monkeypatch.setattr(tuning, "busy_seconds", lambda readings=readings: next(readings))
        assert tuning._others_busy(Cancel()) is expected
    monkeypatch.setattr(tuning, "busy_seconds", lambda: None)
    assert tuning._others_busy(Cancel()) is False


def test_nothing_is_measured_where_nothing_is_to_be_gained(opened: OpenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "tune", None)
    on_card = msgspec.structs.replace(opened, engine_layers=opened.shape.layers + 1)
    assert tune_when_idle(on_card, Cancel()) is True
    with monkeypatch.context() as patch:
        patch.setattr(tuning, "usable_cores", lambda: 2)
        # A part of a layer is left to the processor, so it would be measured.
        with pytest.raises(TypeError):
            tune_when_idle(msgspec.structs.replace(on_card, held=("ffn_up",)), Cancel())
    chosen = msgspec.structs.replace(opened, options=msgspec.structs.replace(AUTO, threads=1))
    assert tune_when_idle(chosen, Cancel()) is True
    monkeypatch.setattr(tuning, "usable_cores", lambda: 1)
    monkeypatch.setattr(tuning, "usable_cpus", lambda: 1)
    assert tune_when_idle(opened, Cancel()) is True


def test_a_nearly_full_context_is_left_alone(opened: OpenModel, monkeypatch: pytest.MonkeyPatch) -> None:
    token = opened.vocabulary.first_token()
    room = opened.decoder.capacity - len(opened.decoder.tokens) - 8
    assert opened.decoder.extend([token] * room) == OK
    monkeypatch.setattr(tuning, "tune", None)
    assert tune_when_idle(opened, Cancel()) is False


@pytest.mark.parametrize(
    "value", [None, 3, {"decode": 0, "prefill": 1}, {"decode": 10**9, "prefill": 1}, {"decode": "2"}]
)
def test_a_strange_remembered_value_is_ignored(starter_gguf: Path, value: object) -> None:
    remembered.write("threads", thread_counts._key(AUTO, starter_gguf, 0), value)
    assert remembered_threads(AUTO, starter_gguf, 0) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"threads": 3}, ThreadCounts(3, 3)),
        ({"threads": 3, "prefill_threads": 5}, ThreadCounts(3, 5)),
        ({"prefill_threads": 5}, ThreadCounts(usable_cores(), 5)),
        ({}, ThreadCounts(usable_cores(), usable_cores())),
    ],
)
def test_without_a_measurement_the_options_or_the_cores_decide(options: dict, expected: ThreadCounts) -> None:
    assert thread_counts.default_threads(LlamaCppOptions(**options)) == expected
