"""The meter of a host: phases, idle draw, what counts and what does not, and what it costs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.energy.idle import keep_watts, known_watts
from backends.energy.meter import Meter
from backends.energy.source import Opened, Opening
from backends.events import DeviceEnergy, Energy
from tests.backends.energy_world import Bench, Clock, Steady


def taken(bench: Bench) -> Energy:
    energy = bench.meter.take(0)
    assert energy is not None
    return energy


def bench_of(watts: float = 10.0) -> tuple[Bench, Steady]:
    clock = Clock()
    source = Steady(clock, watts)
    return Bench(source, clock=clock), source


def test_each_phase_has_its_joules_and_pauses_belong_to_nobody() -> None:
    bench, source = bench_of(10.0)
    for phase, watts, seconds in (
        ("load", 20.0, 3.0), (None, 5.0, 1.0), ("settle", 30.0, 1.0), (None, 5.0, 1.0), ("prefill", 100.0, 2.0),
        ("decode", 50.0, 4.0), (None, 5.0, 1.0),
    ):  # fmt: skip
        bench.meter.enter(phase)  # type: ignore[arg-type]
        source.draw(watts)
        bench.run(seconds)
    energy = taken(bench)
    (device,) = energy.devices
    assert device == DeviceEnergy("CPU package 0", "RAPL", True, 60.0, 30.0, 200.0, 200.0)
    assert (energy.joules, energy.source, energy.idle_joules) == (490.0, "measured", None)


def test_an_account_begins_where_the_last_one_ended_even_within_a_phase() -> None:
    bench, _ = bench_of(10.0)
    bench.meter.enter("decode")
    bench.run(1.1, 1.1)
    bench.meter.take(0)
    bench.run(2.0)
    bench.meter.enter(None)
    bench.sample()
    assert taken(bench).joules == 20.0
    assert taken(bench).joules == 0.0


def test_a_boundary_between_two_samples_is_interpolated() -> None:
    bench, _ = bench_of(10.0)
    bench.meter.enter("prefill")
    bench.clock.now += 0.3
    bench.meter.enter("decode")
    bench.clock.now += 0.7
    bench.sample()
    (device,) = bench.meter.so_far().devices  # type: ignore[union-attr]
    assert (device.prefill_j, device.decode_j) == (3.0, 7.0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["load", "prefill", "decode", None]), st.integers(1, 400)), max_size=12))
def test_accounts_add_up_to_all_that_was_drawn_to_the_microjoule(steps: list[tuple[str | None, int]]) -> None:
    bench, source = bench_of(0.0)
    feed = bench.meter._recorder.lanes[0].feeds[0]
    source.draw(12.345678)
    bench.meter.enter("settle")
    start = feed.curve.uj
    total_uj = 0
    for phase, length in steps:
        bench.clock.now += length / 97
        bench.sample()
        bench.meter.enter(phase or "settle")  # type: ignore[arg-type]
        bench.clock.now += length / 89
        if phase is None:
            energy = bench.meter.so_far()
            assert energy is not None
            bench.sample()
            total_uj += round(taken(bench).joules * 1e6)
    bench.sample()
    total_uj += round(taken(bench).joules * 1e6)
    assert total_uj == feed.curve.uj - start


def test_so_far_is_the_account_up_to_the_last_sample_and_misses_nothing_yet() -> None:
    bench, _ = bench_of(10.0)
    bench.meter.enter("decode")
    bench.run(2.0)
    bench.clock.now += 0.4
    energy = bench.meter.so_far()
    assert energy is not None
    assert (energy.joules, energy.devices[0].missing_s) == (20.0, 0.0)
    bench.clock.now += 10.0
    late = bench.meter.so_far()
    assert late is not None
    assert (late.joules, late.devices[0].missing_s) == (20.0, 10.4)
    assert bench.meter.watts() is None


def test_watts_are_those_of_the_last_moments() -> None:
    bench, source = bench_of(10.0)
    bench.meter.enter("decode")
    bench.run(1.0)
    source.draw(80.0)
    bench.run(1.0)
    assert bench.meter.watts() == pytest.approx(80.0)


def test_idle_draw_is_learned_after_the_work_and_is_part_of_the_next_answer() -> None:
    bench, source = bench_of(100.0)
    bench.meter.enter("prefill")
    bench.run(2.0)
    bench.meter.enter(None)
    # What cools down is not idle yet.
    bench.run(1.4)
    source.draw(8.0)
    bench.run(4.0)
    first = taken(bench)
    assert first.idle_joules == pytest.approx(16.0)
    bench.meter.enter("decode")
    source.draw(100.0)
    bench.run(3.0)
    energy = taken(bench)
    assert (energy.joules, energy.idle_joules) == (pytest.approx(300.0), pytest.approx(24.0))
    assert known_watts(source) == 8.0


def test_the_next_host_knows_the_idle_draw_from_its_start() -> None:
    keep_watts(Steady(), 8.0)
    bench, _ = bench_of(100.0)
    bench.meter.enter("load")
    bench.run(1.0)
    assert taken(bench).idle_joules == pytest.approx(8.0)


@pytest.mark.parametrize("kept", ["eight", -1, 1e9, True, [8]])
def test_a_strange_idle_draw_is_unknown(kept: object) -> None:
    keep_watts(Steady(), kept)  # type: ignore[arg-type]
    assert known_watts(Steady()) is None


def test_idle_joules_are_never_more_than_all() -> None:
    keep_watts(Steady(), 50.0)
    bench, _ = bench_of(10.0)
    bench.meter.enter("decode")
    bench.run(1.0)
    assert taken(bench).idle_joules == pytest.approx(10.0)


@pytest.mark.parametrize(("pause_s", "known"), [(3.0, False), (3.8, True)])
def test_a_pause_between_two_questions_counts_as_idle_if_it_was_long_enough(pause_s: float, known: bool) -> None:
    bench, source = bench_of(8.0)
    bench.meter.enter("decode")
    bench.run(1.0)
    bench.meter.enter(None)
    bench.run(pause_s)
    bench.meter.enter("decode")
    bench.run(1.0)
    assert known_watts(source) == (8.0 if known else None)


def test_a_pause_in_which_a_device_was_silent_teaches_nothing() -> None:
    bench, source = bench_of(8.0)
    bench.meter.enter("decode")
    bench.run(1.0)
    bench.meter.enter(None)
    bench.run(1.0)
    source.fails = True
    bench.run(5.0)
    bench.meter.enter("decode")
    source.fails = False
    source.draw(100.0)
    bench.run(5.0)
    assert known_watts(source) is None


def test_an_estimate_has_no_idle_share() -> None:
    bench, source = bench_of(8.0)
    source.measured = False
    bench = Bench(source, clock=bench.clock)
    bench.meter.enter("decode")
    bench.run(1.0)
    energy = taken(bench)
    assert (energy.source, energy.idle_joules) == ("estimated", 0.0)


def test_devices_that_differ_are_partly_estimated_and_one_unknown_idle_draw_is_enough() -> None:
    clock = Clock()
    guess, card = Steady(clock, device="CPU", label="CPU time at 65 W"), Steady(clock, 90.0, device="GPU 0", card=True)
    guess.measured = False  # type: ignore[misc]
    bench = Bench(guess, card, clock=clock)
    bench.meter.enter("decode")
    bench.run(1.0)
    energy = taken(bench)
    assert (energy.source, energy.joules, energy.idle_joules) == ("partly estimated", 100.0, None)


@pytest.mark.parametrize(("used", "users", "counts"), [
    (None, None, True), (None, True, True), (None, False, False), (False, True, False), (True, None, True),
])  # fmt: skip
def test_a_card_counts_if_it_is_in_use_or_nobody_can_tell(used: bool | None, users: bool | None, counts: bool) -> None:
    clock = Clock()
    card = Steady(clock, 90.0, device="GPU 0", card=True)
    card.users = users
    bench = Bench(Steady(clock), card, clock=clock)
    bench.meter.cards_used(used)
    bench.meter.enter("decode")
    bench.run(1.0)
    assert [device.device for device in taken(bench).devices] == ["CPU package 0"] + ["GPU 0"] * counts
    bench.run(1.0)
    assert bench.meter.watts() == pytest.approx(100.0 if counts else 10.0)


def test_one_sample_of_use_is_enough_for_an_account_and_not_for_the_next() -> None:
    clock = Clock()
    card = Steady(clock, 90.0, device="GPU 0", card=True)
    card.users = False
    bench = Bench(card, clock=clock)
    bench.meter.enter("load")
    bench.run(1.0)
    card.users = True
    bench.sample()
    card.users = False
    bench.run(1.0)
    assert taken(bench).joules == pytest.approx(180.0)
    bench.run(1.0)
    assert bench.meter.take(0) is None


def test_a_servers_cards_are_anybodys() -> None:
    clock = Clock()
    card = Steady(clock, card=True)
    bench = Bench(card, clock=clock, place="machine")
    assert card.asked == [None]
    bench.meter.place("process")
    bench.sample()
    assert card.asked[-1] is not None


def test_work_elsewhere_has_no_energy_and_keeps_nothing() -> None:
    clock = Clock()
    source = Steady(clock)
    bench = Bench(source, clock=clock)
    bench.meter.enter("load")
    bench.run(1.0)
    bench.meter.place("elsewhere")
    bench.meter.enter(None)
    assert bench.meter.take() is None
    assert bench.meter.so_far() is None
    assert bench.meter.watts() is None
    assert bench.meter.notes() == ()
    reads = source.reads
    bench.meter.enter("decode")
    bench.run(1.0)
    assert source.reads == reads


def test_a_suspend_in_the_middle_is_missing_and_adds_no_hours() -> None:
    bench, _ = bench_of(10.0)
    bench.meter.enter("decode")
    bench.run(1.0)
    bench.clock.slept += 8 * 3600
    bench.run(1.0)
    energy = taken(bench)
    assert energy.joules == pytest.approx(18.0)
    assert energy.devices[0].missing_s == pytest.approx(0.2)


def test_a_device_found_late_misses_what_went_before() -> None:
    clock = Clock()
    source = Steady(clock)
    bench = Bench(clock=clock, opened=[Opened(())])
    bench.meter._recorder.lanes[0].opening = Opening("late", "silent", lambda: Opened((source,)))
    bench.meter.enter("load")
    clock.now += 3.0
    bench.open()
    bench.run(1.0)
    energy = taken(bench)
    assert (energy.joules, energy.devices[0].missing_s) == (10.0, 3.0)


def test_an_opening_that_raises_is_a_problem_and_no_end() -> None:
    def broken() -> Opened:
        raise RuntimeError("no")

    meter = Meter(openings=[Opening("The driver", "silent", broken)])
    meter._recorder.lanes[0].open()
    assert meter.notes() == ("The driver cannot be read: RuntimeError: no",)
