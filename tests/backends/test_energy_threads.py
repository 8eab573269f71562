"""The meter's threads: who waits for whom, what a driver that hangs holds up, and what measuring costs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from backends.energy.meter import Meter
from backends.energy.openings import openings_of
from backends.energy.source import Opened, Opening
from tests.backends.energy_world import Steady, until, zone


def test_take_waits_for_the_last_samples_and_no_longer() -> None:
    meter = Meter(openings=[Opening("test", "silent", lambda: Opened((Steady(),)))])
    meter.start()
    until(lambda: meter._recorder.lanes[0].feeds)
    meter.enter("decode")
    time.sleep(0.3)
    meter.enter(None)
    energy = meter.take(5.0)
    assert energy is not None
    (device,) = energy.devices
    assert device.joules == pytest.approx(10.0 * 0.3, rel=0.5)
    assert device.missing_s < 0.1
    started = time.monotonic()
    assert meter.take(5.0) is not None
    assert time.monotonic() - started < 1.0
    meter.stop()


def test_a_driver_that_hangs_while_it_is_opened_holds_up_nobody_and_is_named() -> None:
    free = threading.Event()

    def hanging() -> Opened:
        free.wait(30)
        return Opened()

    openings = [
        Opening("cards", "the graphics driver does not answer", hanging, cards=True),
        Opening("test", "silent", lambda: Opened((Steady(),))),
    ]
    meter = Meter(openings=openings)
    meter.start()
    meter.enter("load")
    until(lambda: "The graphics driver does not answer." in meter.notes())
    started = time.monotonic()
    energy = meter.take(5.0)
    assert time.monotonic() - started < 2.0
    assert energy is not None
    assert energy.notes == ("The graphics driver does not answer.",)
    meter.stop()
    free.set()


def test_cards_that_the_engine_does_not_use_are_let_go_of_so_that_they_may_sleep() -> None:
    closed = threading.Event()
    card = Steady(card=True)
    meter = Meter(openings=[Opening("cards", "silent", lambda: Opened((card,)), closed.set, cards=True)])
    meter.start()
    until(lambda: card.reads)
    meter.cards_used(False)
    assert closed.wait(10)
    reads = card.reads
    meter.enter("decode")
    assert meter.take(0.1) is None
    assert card.reads == reads
    meter.cards_used(None)
    until(lambda: card.reads > reads)
    assert meter.take() is not None
    meter.stop()


def test_one_meter_serves_many_threads() -> None:
    source = Steady(watts=100.0)
    meter = Meter(openings=[Opening("test", "silent", lambda: Opened((source,)))])
    meter.start()
    until(lambda: meter._recorder.lanes[0].feeds)
    feed = meter._recorder.lanes[0].feeds[0]
    meter.enter("prefill")
    start = feed.tally._spans[0].begin
    joules: list[float] = []
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(15):
                meter.enter("decode" if (number + turn) % 2 else "prefill")
                meter.so_far()
                meter.watts()
                energy = meter.take(10.0)
                joules.append(energy.joules if energy else 0.0)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    meter.enter(None)
    end = feed.tally._spans[-1].end
    last = meter.take(5.0)
    meter.stop()
    assert failures == []
    assert last is not None
    assert end is not None
    assert start.reading is not None
    assert end.reading is not None
    # Every account waited for its samples, so together they are the whole.
    assert round((sum(joules) + last.joules) * 1e6) == end.reading.uj - start.reading.uj


def file_world(root: Path) -> None:
    zone(root, "intel-rapl:0", "package-0", "1000\n")
    zone(root, "intel-rapl:0/intel-rapl:0:2", "dram", "1000\n")
    card = root / "sys/class/drm/card0/device/hwmon/hwmon1"
    card.mkdir(parents=True)
    for file, text in (("name", "amdgpu"), ("power1_average", "9000000"), ("power1_cap", "1")):
        (card / file).write_text(f"{text}\n")


def test_measuring_takes_less_than_one_hundredth_of_a_core(tmp_path: Path) -> None:
    file_world(tmp_path)
    meter = Meter(openings=openings_of(tmp_path, lambda: "process")[1:])
    lanes = meter._recorder.lanes
    for lane in lanes:
        lane.open()
    meter.enter("decode")
    share = 0.0
    for lane in lanes:
        # Many at once: what a virtual machine adds to each waking of any thread is not ours.
        started = time.thread_time()
        for _ in range(200):
            lane.sample(kicked=False)
        interval_s = min(feed.source.interval_s for feed in lane.feeds)
        share += (time.thread_time() - started) / 200 / interval_s
    energy = meter.so_far()
    assert energy is not None
    assert len(energy.devices) == 3
    assert share < 0.01


def test_a_device_is_read_no_more_often_than_it_has_to_be() -> None:
    source = Steady()
    source.interval_s = 0.2
    meter = Meter(openings=[Opening("test", "silent", lambda: Opened((source,)))])
    meter.start()
    until(lambda: source.reads)
    started = time.monotonic()
    meter.enter("decode")
    time.sleep(1.0)
    meter.stop()
    assert 2 <= source.reads <= 4 + (time.monotonic() - started) / 0.2


def test_nothing_is_read_while_there_is_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.energy.meter.LINGER_S", 0.3)
    source = Steady()
    meter = Meter(openings=[Opening("test", "silent", lambda: Opened((source,)))])
    waits: list[float | None] = []
    lane = meter._recorder.lanes[0]
    timeout = lane._timeout

    def noted() -> float | None:
        waits.append(timeout())
        return waits[-1]

    monkeypatch.setattr(lane, "_timeout", noted)
    meter.start()
    until(lambda: waits)
    assert waits == [None]
    meter.enter("decode")
    until(lambda: source.reads > 4)
    meter.enter(None)
    until(lambda: waits[-1] is None)
    reads = source.reads
    time.sleep(0.5)
    assert source.reads == reads
    meter.stop()
    until(lambda: not any(thread.name == "energy-test" for thread in threading.enumerate()))
