"""What is not NVML and not RAPL: other cards, CPU time, batteries."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from backends.base import Place
from backends.energy import battery, drm
from backends.energy.estimate import CpuTime, busy_s, full_load_w
from backends.energy.openings import openings_of
from backends.energy.source import Unread
from tests.backends.energy_world import Bench, zone


def sensors(root: Path, card: str, name: str, **files: str) -> Path:
    folder = root / f"sys/class/drm/{card}/device/hwmon/hwmon3"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    for file, text in files.items():
        (folder / file).write_text(text)
    return folder


def test_an_amd_cards_power_is_integrated(tmp_path: Path) -> None:
    folder = sensors(tmp_path, "card1", "amdgpu", power1_average="100000000\n", power1_cap="250000000\n")
    (folder.parents[1] / "product_name").write_text("Navi 31\x1b[31m\n")
    (source,) = drm.open_cards(tmp_path).sources
    assert (source.device, source.label) == ("GPU card1 Navi 31[31m", "amdgpu power, integrated")
    assert source.read(10.0) is None
    (folder / "power1_average").write_text("200000000\n")
    assert source.read(10.2) == 30_000_000
    assert source.read(13.0) is None
    assert source.in_use((1,)) is None


def test_a_card_that_tells_only_its_momentary_power_is_read_too(tmp_path: Path) -> None:
    sensors(tmp_path, "card0", "amdgpu", power1_input="100000000\n", power1_cap="250000000\n")
    (source,) = drm.open_cards(tmp_path).sources
    source.read(0.0)
    assert source.read(1.0) == 100_000_000


def test_graphics_inside_a_processor_are_counted_with_it(tmp_path: Path) -> None:
    sensors(tmp_path, "card0", "amdgpu", power1_average="15000000\n")
    sensors(tmp_path, "card1", "nouveau", power1_input="15000000\n")
    assert drm.open_cards(tmp_path).sources == ()


@pytest.mark.parametrize("driver", ["i915", "xe"])
def test_an_intel_cards_counter_is_read_by_difference(tmp_path: Path, driver: str) -> None:
    folder = sensors(tmp_path, "card0", driver, energy1_input="5000\n")
    (source,) = drm.open_cards(tmp_path).sources
    assert source.label == f"{driver} energy counter"
    source.read(0.0)
    (folder / "energy1_input").write_text("1005000\n")
    assert source.read(1.0) == 1_000_000


def test_a_card_that_sleeps_is_not_woken_and_not_in_use(tmp_path: Path) -> None:
    folder = sensors(tmp_path, "card0", "amdgpu", power1_average="15000000\n", power1_cap="1\n")
    (source,) = drm.open_cards(tmp_path).sources
    runtime = folder.parents[1] / "power/runtime_status"
    runtime.parent.mkdir()
    runtime.write_text("suspended\n")
    with pytest.raises(Unread):
        source.read(0.0)
    assert source.in_use(None) is False
    runtime.write_text("active\n")
    source.read(1.0)
    assert source.read(2.0) == 15_000_000


def test_a_sensor_that_fails_is_named(tmp_path: Path) -> None:
    folder = sensors(tmp_path, "card0", "amdgpu", power1_average="?\n", power1_cap="1\n")
    (source,) = drm.open_cards(tmp_path).sources
    with pytest.raises(Unread):
        source.read(0.0)
    assert "cannot be read" in source.problem
    (folder / "power1_average").write_text("1\n")
    source.read(0.0)
    assert source.problem == ""


def test_a_machine_without_cards_has_no_sources(tmp_path: Path) -> None:
    assert drm.open_cards(tmp_path).sources == ()


def test_cpu_time_of_this_process_is_taken_at_full_load_watts(tmp_path: Path) -> None:
    used = [100.0]
    source = CpuTime(tmp_path, lambda: "process", 8, lambda: used[0])
    assert (source.label, source.measured) == ("CPU time at 65 W", False)
    assert source.read(0.0) is None
    used[0] += 4.0
    assert source.read(1.0) == 4 * 65 / 8 * 1e6


def test_the_time_of_this_process_is_that_of_all_its_threads(tmp_path: Path) -> None:
    source = CpuTime(tmp_path, lambda: "process", 1)
    source.read(0.0)
    until_s = time.process_time() + 0.05
    while time.process_time() < until_s:
        pass
    delta = source.read(1.0)
    assert delta is not None
    assert 0.05 * 65e6 <= delta < 60e6


STAT = "cpu  {} 50 100 90000 700 5 6 77 30 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"


def test_a_servers_work_is_the_machines_and_what_went_before_stays_the_processes(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(STAT.format(1000))
    place: list[Place] = ["process"]
    source = CpuTime(tmp_path, lambda: place[0], 2, lambda: 0.0)
    source.read(0.0)
    place[0] = "machine"
    assert source.read(0.1) is None
    (tmp_path / "proc/stat").write_text(STAT.format(1200))
    # 200 ticks of 10 ms.
    assert source.read(1.0) == 2 * 65 / 2 * 1e6


def test_waiting_and_what_a_hypervisor_took_is_no_work(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(STAT.format(1000))
    assert busy_s(stat) == pytest.approx(11.61)
    stat.write_text("intr 5\n")
    assert busy_s(stat) is None
    assert busy_s(tmp_path / "none") is None


def test_a_machine_that_does_not_tell_its_load_is_unread(tmp_path: Path) -> None:
    source = CpuTime(tmp_path, lambda: "machine", 2)
    with pytest.raises(Unread):
        source.read(0.0)
    assert source.problem


@pytest.mark.parametrize(
    ("limit", "watts"), [("105000000\n", 105.0), ("4095000000\n", 65.0), ("0\n", 65.0), ("?", 65.0)]
)
def test_full_load_is_the_processors_long_term_limit_where_that_is_one(
    tmp_path: Path, limit: str, watts: float
) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", constraint_0_name="long_term\n", constraint_0_power_limit_uw=limit)
    assert full_load_w(tmp_path) == watts


def supply(root: Path, name: str, **files: str) -> None:
    folder = root / "sys/class/power_supply" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file).write_text(f"{text}\n")


def test_a_battery_that_is_being_emptied_is_noted(tmp_path: Path) -> None:
    assert not battery.discharging(tmp_path)
    supply(tmp_path, "AC", type="Mains", online="0")
    supply(tmp_path, "mouse", type="Battery", scope="Device", status="Discharging")
    supply(tmp_path, "BAT0", type="Battery", status="Charging")
    assert not battery.discharging(tmp_path)
    supply(tmp_path, "BAT0", status="Discharging")
    assert battery.discharging(tmp_path)


def test_an_answer_on_battery_says_so(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", status="Discharging")
    bench = Bench()
    bench.meter = type(bench.meter)(openings=openings_of(tmp_path, lambda: "process")[2:], clock=bench.clock)
    bench.open()
    energy = bench.meter.take(0)
    assert energy is not None
    assert energy.notes == ("The machine runs on battery.",)
    supply(tmp_path, "BAT0", status="Full")
    bench.run(11.0, 1.0)
    assert bench.meter.notes() == ()
