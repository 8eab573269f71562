"""Power settings, swap, slots and processes, from folders like the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

from backends.hardware import bounded, processes
from backends.hardware.displays import Display, displays
from backends.hardware.power_settings import PowerSettings, power_settings
from backends.hardware.swap import Swap, swaps
from tests.backends.kernel_world import link, machine

POLICY = "sys/devices/system/cpu/cpufreq/policy{}/"


def policy(root: Path, number: int, **files: str) -> None:
    machine(root, {POLICY.format(number) + name: f"{text}\n" for name, text in files.items()})


def test_power_settings_are_told_each_word_once(tmp_path: Path) -> None:
    for number in range(3):
        policy(tmp_path, number, scaling_driver="intel_pstate", scaling_governor="powersave",
               energy_performance_preference="balance_power" if number else "power",
               scaling_max_freq="2400000", cpuinfo_max_freq="4800000")  # fmt: skip
    machine(tmp_path, {"sys/firmware/acpi/platform_profile": "low-power\n"})
    machine(tmp_path, {"sys/devices/system/cpu/intel_pstate/no_turbo": "1\n"})
    found = power_settings(tmp_path)
    assert found == PowerSettings(
        "intel_pstate", ("powersave",), ("balance_power", "power"), "low-power", 0.5, boost=False
    )
    assert found.follows_preference


def test_a_machine_without_frequencies_tells_nothing(tmp_path: Path) -> None:
    assert power_settings(tmp_path) == PowerSettings()


def test_swap_on_a_disk_and_compressed_in_memory_are_told_apart(tmp_path: Path) -> None:
    head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    rows = "/dev/zram0 partition 8388604 1024 100\n/swap\\040file file 2097148 4 -2\nnonsense\n"
    machine(tmp_path, {"proc/swaps": head + rows})
    assert swaps(tmp_path) == (
        Swap("/dev/zram0", 8388604 * 1024, 1024 * 1024, compressed=True),
        Swap("/swap\\040file", 2097148 * 1024, 4096),
    )
    assert swaps(tmp_path / "none") == ()


def test_cards_in_the_slots_are_seen_with_their_driver_or_without(tmp_path: Path) -> None:
    devices = tmp_path / "sys/bus/pci/devices"
    machine(devices / "0000:01:00.0", {"class": "0x030000\n", "vendor": "0x10de\n"})
    machine(devices / "0000:02:00.0", {"class": "0x030200\n", "vendor": "0x1002\n"})
    machine(devices / "0000:03:00.0", {"class": "0x010802\n", "vendor": "0x10de\n"})
    (tmp_path / "sys/bus/pci/drivers/nouveau").mkdir(parents=True)
    link(devices / "0000:01:00.0/driver", tmp_path / "sys/bus/pci/drivers/nouveau")
    assert displays(tmp_path) == (Display("NVIDIA", "nouveau"), Display("AMD"))


def test_processes_are_found_by_name_and_tell_their_environment() -> None:
    pid = os.getpid()
    name = processes.name_of(pid)
    assert name
    assert pid in processes.called(name)
    assert "PATH" in (processes.environment_of(pid) or {})
    assert processes.words_of(pid)
    assert processes.environment_of(1 << 30) is None


def test_a_file_is_never_read_beyond_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("0123456789")
    os.mkfifo(tmp_path / "pipe")
    assert (bounded.head(tmp_path / "log", 3), bounded.tail(tmp_path / "log", 3)) == ("012", "789")
    assert bounded.head(tmp_path / "pipe", 3) == bounded.tail(tmp_path / "none", 3) == bounded.head(tmp_path, 3) == ""
