"""The processors' counters, on folders like the kernel's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from backends.energy import rapl
from backends.energy.openings import _processors
from backends.energy.source import Unread
from backends.energy.suspend import grew, slept_s
from tests.backends.energy_world import ROOT_ONLY, Bench, zone

RANGE_UJ = 262_143_328_850
ROUND_UJ = RANGE_UJ + 61
"""2³² units of 2⁻¹⁴ J; the kernel gives the range as 2³² − 1 units."""


def says(folder: Path, value: int) -> None:
    (folder / "energy_uj").write_text(f"{value}\n")


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse the counters as the kernel does to all but root; tests may run as root."""
    read_text = Path.read_text

    def refuse(self: Path, *args: object, **kwargs: object) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read_text(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refuse)


def test_packages_and_their_memory_are_read_and_nothing_that_overlaps(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0")
    zone(tmp_path, "intel-rapl:0/intel-rapl:0:0", "core")
    zone(tmp_path, "intel-rapl:0/intel-rapl:0:1", "uncore")
    zone(tmp_path, "intel-rapl:0/intel-rapl:0:2", "dram")
    zone(tmp_path, "intel-rapl:1", "psys")
    zone(tmp_path, "intel-rapl:10", "package-1")
    zone(tmp_path, "intel-rapl-mmio:0", "package-0")
    # The class folder names children too.
    zone(tmp_path, "intel-rapl:0:2", "dram")
    opened = rapl.open_zones(tmp_path)
    assert [source.device for source in opened.sources] == ["CPU package 0", "Memory of CPU package 0", "CPU package 1"]
    assert {source.label for source in opened.sources} == {"RAPL"}
    assert opened.problem == ""


def test_a_counter_that_goes_round_is_exact_to_the_microjoule(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", f"{RANGE_UJ - 1_000_000}\n", RANGE_UJ)
    (source,) = rapl.open_zones(tmp_path).sources
    assert source.read(10.0) is None
    says(folder, 2_345_678)
    assert source.read(11.0) == 1_000_000 + 2_345_678 + (ROUND_UJ - RANGE_UJ)
    says(folder, 2_345_679)
    assert source.read(11.1) == 1


def test_a_small_counter_goes_round_at_its_range(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", "59999999990\n", 60_000_000_000)
    (source,) = rapl.open_zones(tmp_path).sources
    source.read(0.0)
    says(folder, 7)
    assert source.read(1.0) == 10 + 7 + 14


def test_a_counter_that_started_anew_is_not_taken_for_one_that_went_round(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", "90000000000\n")
    (source,) = rapl.open_zones(tmp_path).sources
    source.read(0.0)
    says(folder, 5_000_000)
    assert source.read(0.5) is None
    says(folder, 9_000_000)
    assert source.read(1.0) == 4_000_000


def test_a_pause_in_which_it_may_have_gone_round_twice_is_unknown(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", "1000\n")
    (source,) = rapl.open_zones(tmp_path).sources
    source.read(0.0)
    says(folder, 2000)
    assert source.read(3600.0) is None


@pytest.mark.usefixtures("denied")
def test_without_permission_the_energy_is_estimated_and_it_is_said_how_to_allow_more(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0")
    opened = _processors(tmp_path, lambda: "process")
    assert [(source.label, source.measured) for source in opened.sources] == [("CPU time at 65 W", False)]
    assert opened.problem == ROOT_ONLY
    assert "sudo chmod o+r" in opened.remedy
    assert "udev" in opened.remedy
    bench = Bench(opened=[opened])
    assert bench.meter.notes() == (f"{opened.problem} {opened.remedy}",)
    energy = bench.meter.take(0)
    assert energy is not None
    assert (energy.source, energy.notes) == ("estimated", (ROOT_ONLY,))


def test_the_command_that_allows_it_meets_every_counter(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl", "")
    (tmp_path / "sys/class/powercap/intel-rapl/energy_uj").unlink()
    for name in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        zone(tmp_path, name, "package-0")
    pattern = rapl.REMEDY.partition("chmod o+r ")[2].split()[0]
    assert len(list(tmp_path.glob(pattern.removeprefix("/")))) == 3


def test_memory_whose_counter_is_damaged_does_not_cost_the_package(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0")
    child = zone(tmp_path, "intel-rapl:0/intel-rapl:0:2", "dram")
    (child / "energy_uj").write_text("?\n")
    opened = rapl.open_zones(tmp_path)
    assert [source.device for source in opened.sources] == ["CPU package 0"]
    assert "cannot be read" in opened.problem


def test_a_counter_that_disappears_is_named_and_found_again(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", "100\n")
    (source,) = rapl.open_zones(tmp_path).sources
    source.read(0.0)
    shutil.move(folder, tmp_path / "gone")
    with pytest.raises(Unread):
        source.read(0.5)
    assert source.problem
    shutil.move(tmp_path / "gone", folder)
    says(folder, 400)
    assert (source.read(1.0), source.problem) == (300, "")


def test_the_long_term_limit_is_found_by_its_name(tmp_path: Path) -> None:
    assert rapl.limit_w(tmp_path) is None
    limits = {"constraint_0_name": "short_term\n", "constraint_0_power_limit_uw": "250000000\n"}
    limits |= {"constraint_1_name": "long_term\n", "constraint_1_power_limit_uw": "125000000\n"}
    zone(tmp_path, "intel-rapl:0", "package-0", **limits)
    zone(tmp_path, "intel-rapl:1", "package-1", **limits)
    assert rapl.limit_w(tmp_path) == 250.0


def test_a_suspend_in_the_middle_makes_no_energy_and_no_hours(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", "1000000000\n")
    bench = Bench(opened=[rapl.open_zones(tmp_path)])
    bench.meter.enter("decode")
    value = 1_000_000_000
    for _ in range(10):
        value += 5_000_000
        says(folder, value)
        bench.run(0.5, 0.5)
    bench.clock.slept += 10 * 3600
    value = 3_000_000
    for _ in range(10):
        says(folder, value)
        bench.run(0.5, 0.5)
        value += 5_000_000
    bench.meter.enter(None)
    bench.sample()
    energy = bench.meter.take(0)
    assert energy is not None
    assert energy.joules == 50.0 + 45.0
    assert energy.devices[0].missing_s == 0.5
    assert any("0.5 s nothing is known" in note for note in energy.notes)


def test_this_machine_tells_how_long_it_slept_without_jitter() -> None:
    before = slept_s()
    assert before >= -0.1
    assert not any(grew(before, slept_s()) for _ in range(200))


def test_a_kernel_that_does_not_count_sleep_has_not_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("time.CLOCK_BOOTTIME", raising=False)
    assert slept_s() == 0.0
    assert os.name == "posix"
