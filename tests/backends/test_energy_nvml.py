"""NVIDIA cards through the real binding, on the driver library of fake_nvml.c."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backends.energy.meter import Meter
from backends.energy.nvml import Driver
from backends.energy.openings import openings_of
from backends.energy.source import Opening, Unread
from backends.events import DeviceEnergy, Energy
from tests import fake_driver
from tests.backends.energy_world import Bench, Clock, FakeDriver, until

ROOT = Path(__file__).parents[2]
MACHINES_PIDS = Path("/proc/self/ns/pid").stat().st_ino == 0xEFFFFFFC


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    return FakeDriver(library, tmp_path, monkeypatch)


def cards(clock: Clock | None = None) -> tuple[Bench, Driver]:
    driver = Driver()
    return Bench(opened=[driver.open()], clock=clock), driver


def of_card(energy: Energy | None) -> DeviceEnergy:
    assert energy is not None
    (device,) = [device for device in energy.devices if device.device.startswith("GPU")]
    return device


def real_meter(tmp_path: Path) -> Meter:
    """A meter with threads, the fake card and no other source."""
    return Meter(openings=openings_of(tmp_path, lambda: "process")[:1])


POINTS = ((0.0, 30.0), (0.4, 30.0), (0.7, 180.0), (1.3, 220.0), (1.6, 60.0), (60.0, 60.0))


def joules_between(begin_s: float, end_s: float) -> float:
    """Return the exact integral of POINTS."""

    def power(at_s: float) -> float:
        (from_s, before), (to_s, after) = next(pair for pair in pairwise(POINTS) if pair[0][0] <= at_s <= pair[1][0])
        return before + (after - before) * (at_s - from_s) / (to_s - from_s)

    corners = [begin_s, *(at_s for at_s, _ in POINTS if begin_s < at_s < end_s), end_s]
    return sum((power(a) + power(b)) / 2 * (b - a) for a, b in pairwise(corners))


@pytest.mark.parametrize(
    ("extra", "label", "tolerance"),
    [("", "NVML energy counter", 0.02), ("energyrc0 3\n", "NVML power, integrated", 0.02)],
)
def test_joules_follow_a_known_curve(
    driver: FakeDriver, tmp_path: Path, extra: str, label: str, tolerance: float
) -> None:
    epoch = time.monotonic()
    profile = " ".join(f"{at_s} {watts}" for at_s, watts in POINTS)
    driver.says(f"processes 3\nepoch {epoch!r}\nprofile0 {profile}\n{extra}")
    meter = real_meter(tmp_path)
    meter.start()
    until(lambda: meter._recorder.lanes[0].feeds)
    begin = time.monotonic() - epoch
    meter.enter("prefill")
    time.sleep(max(0.0, 1.0 - begin))
    middle = time.monotonic() - epoch
    meter.enter("decode")
    time.sleep(1.4)
    end = time.monotonic() - epoch
    meter.enter(None)
    device = of_card(meter.take(5.0))
    meter.stop()
    assert device.source == label
    assert device.joules == pytest.approx(joules_between(begin, end), rel=tolerance)
    assert device.prefill_j == pytest.approx(joules_between(begin, middle), rel=0.05)
    assert device.decode_j == pytest.approx(joules_between(middle, end), rel=0.05)
    assert device.missing_s < 0.05 * (end - begin)


def test_a_card_that_counts_is_counted_and_another_is_integrated(driver: FakeDriver) -> None:
    driver.says("cards 2\ntext0 RTX 3070\ntext1 GTX 1080\nenergy0 1000\npower1 40000\n")
    sources = Driver().open().sources
    assert [(source.device, source.label, source.interval_s) for source in sources] == [
        ("GPU 0 RTX 3070", "NVML energy counter", 1.0),
        ("GPU 1 GTX 1080", "NVML power, integrated", 0.2),
    ]


def test_a_counter_that_stands_at_nothing_is_not_believed(driver: FakeDriver) -> None:
    driver.says("energyrc0 0\npower0 40000\n")
    assert [source.label for source in Driver().open().sources] == ["NVML power, integrated"]


def test_a_card_that_tells_nothing_is_named_and_is_no_source(driver: FakeDriver) -> None:
    opened = Driver().open()
    assert opened.sources == ()
    assert opened.problem == "GPU 0 tells neither its energy nor its power."


@pytest.mark.parametrize(("code", "words"), [(18, "restart the machine"), (9, "not loaded"), (999, "without a reason")])
def test_a_driver_that_cannot_be_opened_is_named_and_tried_again(driver: FakeDriver, code: int, words: str) -> None:
    driver.says(f"init {code}\nenergy0 1000\n")
    clock = Clock()
    nvml = Driver()
    bench = Bench(clock=clock)
    meter = Meter(openings=[Opening("nvidia", "silent", nvml.open, cards=True)], clock=clock, slept=clock.asleep)
    bench.meter = meter
    bench.open()
    assert words in meter.notes()[0]
    assert meter.take(0) is None
    driver.says("processes 3\nenergy0 1000\n")
    meter.enter("decode")
    bench.run(4.0)
    assert meter.take(0) is None
    bench.run(2.0)
    assert of_card(meter.take(0)).source == "NVML energy counter"
    assert meter.notes() == ()


@pytest.mark.parametrize("text", ["cards 0\n"])
def test_a_driver_without_cards_is_no_source(driver: FakeDriver, text: str) -> None:
    driver.says(text)
    assert Driver().open().sources == ()


def test_no_driver_is_no_card_and_nothing_is_said(tmp_path: Path) -> None:
    # A file that is no library hides a real one and cannot be loaded.
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")
    code = "from backends.energy.nvml import Driver; print(Driver().open())"
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert child.stdout.strip() == "Opened(sources=(), problem='', remedy='', again=False)"


def test_a_missing_binding_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Driver().open().sources == ()


def test_a_counter_is_right_over_an_error_and_the_phases_share_what_it_says(driver: FakeDriver) -> None:
    driver.says("processes 3\nenergy0 1000\n")
    bench, _ = cards()
    bench.meter.enter("prefill")
    bench.run(1.0)
    driver.says("processes 3\nenergy0 1000\nenergyrc0 15\n")
    bench.run(1.0)
    bench.meter.enter("decode")
    bench.run(1.0)
    assert any("lost" in note for note in bench.meter.notes())
    so_far = of_card(bench.meter.so_far())
    assert (so_far.joules, round(so_far.missing_s, 3)) == (0.0, 2.0)
    assert bench.meter.watts() is None
    driver.says("processes 3\nenergy0 201000\n")
    bench.run(0.2)
    bench.meter.enter(None)
    bench.sample()
    device = of_card(bench.meter.take(0))
    assert (device.joules, device.missing_s) == (200.0, 0.0)
    assert device.prefill_j == pytest.approx(200 / 2.2, abs=1e-3)
    assert bench.meter.notes() == ()


def test_an_answer_that_ends_while_a_card_is_lost_says_what_is_missing(driver: FakeDriver) -> None:
    driver.says("processes 3\nenergy0 1000\n")
    bench, _ = cards()
    bench.meter.enter("decode")
    bench.run(1.0)
    driver.says("processes 3\nenergy0 31000\n")
    bench.run(1.0)
    driver.says("processes 3\nenergyrc0 15\n")
    bench.run(2.0)
    bench.meter.enter(None)
    started = time.monotonic()
    energy = bench.meter.take(1.0)
    # Nobody waits for a card that does not answer.
    assert time.monotonic() - started < 0.5
    device = of_card(energy)
    assert (device.joules, device.missing_s) == (30.0, 2.0)
    assert energy is not None
    assert any("The card is lost" in note for note in energy.notes)
    assert any("of 2.0 s nothing is known" in note for note in energy.notes)
    curve = bench.meter._recorder.lanes[0].feeds[0].curve
    for _ in range(20):
        bench.meter.enter("decode")
        bench.run(1.0, 0.5)
        bench.meter.enter(None)
        bench.meter.take(0)
    assert len(curve._waiting) < 8


def test_power_is_not_bridged_over_a_long_error(driver: FakeDriver) -> None:
    driver.says("processes 3\npower0 50000\n")
    bench, _ = cards()
    bench.meter.enter("decode")
    bench.run(1.0)
    driver.says("processes 3\npower0 50000\npowerrc0 999\n")
    bench.run(0.6)
    driver.says("processes 3\npower0 50000\n")
    bench.run(1.0)
    assert of_card(bench.meter.so_far()).joules == pytest.approx(50 * 2.6)
    driver.says("processes 3\npower0 50000\npowerrc0 999\n")
    bench.run(3.0)
    driver.says("processes 3\npower0 50000\n")
    bench.run(1.0)
    device = of_card(bench.meter.so_far())
    assert device.joules == pytest.approx(50 * (2.6 + 0.8))
    assert device.missing_s == pytest.approx(3.2)


def test_a_driver_that_was_loaded_anew_is_opened_again_and_its_counter_starts_again(driver: FakeDriver) -> None:
    driver.says("processes 3\nenergy0 500000\n")
    bench, nvml = cards()
    bench.meter.enter("decode")
    bench.run(1.0)
    driver.says("processes 3\nenergyrc0 1\n")
    bench.run(1.0)
    driver.says("processes 3\nenergyrc0 1\ninit 9\n")
    bench.run(6.0)
    assert nvml.generation == 1
    driver.says("processes 3\nenergy0 2000\n")
    bench.run(6.0)
    assert nvml.generation == 2
    driver.says("processes 3\nenergy0 12000\n")
    bench.run(1.0)
    device = of_card(bench.meter.so_far())
    assert device.joules == 10.0
    assert 7.0 < device.missing_s < 13.0


def test_a_card_is_found_again_by_its_uuid(driver: FakeDriver) -> None:
    driver.says("cards 2\nenergy0 1000\nenergy1 5000\n")
    nvml = Driver()
    first, second = nvml.open().sources
    first.read(0.0)
    second.read(0.0)
    driver.says("cards 2\nenergyrc0 15\nhandle0 15\nenergy1 6000\n")
    with pytest.raises(Unread):
        first.read(1.0)
    with pytest.raises(Unread):
        first.read(7.0)
    assert second.read(7.5) == 1_000_000
    assert nvml.generation == 1


def test_a_card_divided_by_mig_tells_the_whole_cards_figures_and_says_so(driver: FakeDriver) -> None:
    driver.says("processes 3\nsliced0 1\nenergy0 1000\n")
    bench, _ = cards()
    bench.meter.enter("decode")
    bench.run(1.0)
    energy = bench.meter.take(0)
    assert energy is not None
    assert any("divided by MIG" in note for note in energy.notes)


@pytest.mark.parametrize("users", ["processes 3\n", "processes 999\n"])
def test_a_card_counts_where_the_driver_does_not_tell_whose_it_is(driver: FakeDriver, users: str) -> None:
    driver.says(f"{users}energy0 1000\n")
    (source,) = Driver().open().sources
    assert source.in_use((os.getpid(),)) is None
    assert source.in_use(None) is None
    bench, _ = cards()
    bench.meter.enter("decode")
    bench.sample()
    assert of_card(bench.meter.so_far()).device == "GPU 0 Fake RTX"


def test_a_card_with_our_process_counts_even_without_its_figure(driver: FakeDriver) -> None:
    driver.says(f"energy0 1000\ncompute0 {os.getpid()} -1\n")
    (source,) = Driver().open().sources
    assert source.in_use((os.getpid(),)) is True


def test_a_card_of_others_is_left_out(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.hardware.gpu._pids_are_the_machines", lambda: True)
    driver.says(f"cards 2\nenergy0 1000\nenergy1 1000\ncompute0 1 500\ngraphics1 {os.getpid()} 500\n")
    bench, _ = cards()
    bench.meter.enter("decode")
    bench.run(1.0)
    energy = bench.meter.take(0)
    assert energy is not None
    assert [device.device for device in energy.devices] == ["GPU 1 Fake RTX"]
    bench.meter.place("machine")
    bench.run(1.0)
    energy = bench.meter.take(0)
    assert energy is not None
    assert len(energy.devices) == 2


def test_a_container_does_not_take_its_own_process_numbers_for_the_drivers(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.hardware.gpu._pids_are_the_machines", lambda: False)
    driver.says("energy0 1000\ncompute0 99 5\n")
    (source,) = Driver().open().sources
    assert source.in_use((os.getpid(),)) is None


def test_a_driver_that_hangs_holds_up_nobody_and_is_named(driver: FakeDriver, tmp_path: Path) -> None:
    driver.says("processes 3\nenergy0 1000\n")
    meter = Meter(root=tmp_path)
    meter.start()
    until(lambda: all(lane.opened for lane in meter._recorder.lanes))
    meter.enter("decode")
    until(lambda: meter.watts() is not None)
    driver.says("processes 3\nenergy0 9000\nhangenergy 3\n")
    until(lambda: any("does not answer" in note for note in meter.notes()))
    longest = 0.0

    def timed(call: Any) -> Any:
        nonlocal longest
        started = time.monotonic()
        result = call()
        longest = max(longest, time.monotonic() - started)
        return result

    timed(lambda: meter.enter("prefill"))
    assert timed(meter.so_far) is not None
    timed(lambda: meter.enter(None))
    energy = timed(meter.take)
    # 50 ms at most, and a loaded machine's share.
    assert longest < 0.6
    assert any(note == "GPU 0 Fake RTX: the graphics driver does not answer." for note in energy.notes)
    card = of_card(energy)
    assert card.missing_s > 0.5
    assert card.joules == 0.0
    processor = next(device for device in energy.devices if device.device == "CPU")
    assert processor.missing_s < card.missing_s
    driver.says("processes 3\nenergy0 9000\n")
    until(lambda: not any("does not answer" in note for note in meter.notes()))
    meter.stop()


def test_energy_from_a_call_that_hung_is_not_put_into_one_moment(driver: FakeDriver) -> None:
    driver.says("processes 3\nenergy0 1000\n")
    bench, _ = cards()
    bench.meter.enter("decode")
    bench.run(1.0)
    feed = bench.meter._recorder.lanes[0].feeds[0]
    read = feed.source.read

    def slow(now_s: float) -> int | None:
        bench.clock.now += 3.0
        driver.says("processes 3\nenergy0 301000\n")
        return read(now_s)

    feed.source.read = slow  # type: ignore[method-assign]
    bench.run(0.2)
    feed.source.read = read  # type: ignore[method-assign]
    bench.run(1.0)
    device = of_card(bench.meter.so_far())
    assert device.joules == 0.0
    assert device.missing_s == pytest.approx(3.4)
    assert bench.meter.watts() == 0.0
