"""Energy over time: nothing is lost or invented between samples, and sums come out to the microjoule."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backends.energy.curve import Curve, Reading
from backends.energy.stretches import Counter, Power

deltas = st.one_of(st.none(), st.integers(0, 10**9))
stretches = st.lists(st.tuples(st.floats(0.001, 5.0), deltas), min_size=1, max_size=30)


def test_a_mark_between_two_samples_is_on_the_line_between_them() -> None:
    curve = Curve(10.0)
    mark = curve.mark(10.25)
    assert mark.reading is None
    curve.sample(11.0, 1000)
    assert mark.reading == Reading(250, 0)


def test_a_mark_may_lie_behind_the_last_sample_or_on_it() -> None:
    curve = Curve(0.0)
    curve.sample(1.0, 100)
    curve.sample(2.0, 200)
    assert curve.mark(1.5).reading == Reading(200)
    assert curve.mark(2.0).reading == Reading(300)
    assert curve.mark(0.5).reading == Reading(100)


def test_a_stretch_of_which_nothing_is_known_is_missing_and_not_zero() -> None:
    curve = Curve(0.0)
    curve.sample(1.0, 500)
    mark = curve.mark(1.5)
    curve.sample(3.0, None)
    assert mark.reading == Reading(500, 500_000_000)
    assert curve.mark(3.0).reading == Reading(500, 2_000_000_000)


def test_a_mark_that_waits_can_be_read_provisionally() -> None:
    curve = Curve(0.0)
    curve.sample(1.0, 700)
    mark = curve.mark(1.5)
    assert curve.provisional(mark) == Reading(700, 500_000_000)
    assert curve.provisional(mark, bridge=True) == Reading(700, 0)
    curve.sample(2.0, 200)
    assert curve.provisional(mark) == Reading(800, 0)


def test_only_marks_that_wait_are_kept() -> None:
    curve = Curve(0.0)
    marks = [curve.mark(step + 0.5) for step in range(100)]
    for step in range(100):
        curve.sample(step + 1.0, 10)
        assert len(curve._waiting) == 99 - step
    assert all(mark.reading is not None for mark in marks)
    forgotten = curve.mark(1000.0)
    curve.forget(forgotten)
    assert curve._waiting == []


@given(stretches, st.lists(st.floats(0.0, 1.0), max_size=20))
def test_consecutive_spans_add_up_to_the_whole(steps: list[tuple[float, int | None]], places: list[float]) -> None:
    whole_s = sum(length for length, _ in steps)
    curve = Curve(0.0)
    marks = [curve.mark(place * whole_s) for place in [0.0, *sorted(places)]]
    now = 0.0
    for length, delta in steps:
        now += length
        curve.sample(now, delta)
    marks.append(curve.mark(now))
    readings = [mark.reading for mark in marks]
    spans = [later.uj - earlier.uj for earlier, later in pairwise(readings) if earlier and later]
    lacks = [later.missing_ns - earlier.missing_ns for earlier, later in pairwise(readings) if earlier and later]
    assert len(spans) == len(marks) - 1
    assert all(isinstance(value, int) and value >= 0 for value in spans + lacks)
    assert sum(spans) == sum(delta or 0 for _, delta in steps)
    assert abs(sum(lacks) - sum(length * 1e9 for length, delta in steps if delta is None)) <= len(steps)


@given(st.lists(st.integers(0, 400_000_000), min_size=2, max_size=50))
def test_integrated_power_loses_no_microjoule_to_rounding(powers: list[int]) -> None:
    power = Power()
    assert power.step(0.0, powers[0]) is None
    parts = [power.step(number / 7, value) for number, value in enumerate(powers[1:], 1)]
    ns = [round(number / 7 * 1e9) for number in range(len(powers))]
    exact = sum(
        (powers[number] + powers[number + 1]) * (ns[number + 1] - ns[number]) for number in range(len(powers) - 1)
    )
    assert sum(part or 0 for part in parts) == exact // 2_000_000_000


def test_power_is_bridged_over_two_seconds_and_no_more() -> None:
    power = Power()
    assert power.step(0.0, 10_000_000) is None
    assert power.step(2.0, 20_000_000) == 30_000_000
    assert power.step(4.5, 20_000_000) is None
    assert power.step(5.0, 20_000_000) == 10_000_000


def test_a_counter_that_goes_backwards_tells_nothing_about_that_stretch() -> None:
    counter = Counter()
    assert [counter.step(now, value) for now, value in ((0, 500), (1, 700), (2, 100), (3, 150))] == [
        None,
        200,
        None,
        50,
    ]


def test_a_counter_may_pause_for_hours_and_be_right() -> None:
    counter = Counter()
    counter.step(0.0, 0)
    assert counter.step(7200.0, 7200 * 20_000_000) == 7200 * 20_000_000
