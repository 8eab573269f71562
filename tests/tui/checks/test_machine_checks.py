"""What `doctor` says of memory, disk and processor."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from backends.hardware.cpu import Cpu
from backends.hardware.disk import Disk
from backends.hardware.machine import Machine
from backends.hardware.memory import Ram
from backends.hardware.power_settings import PowerSettings
from backends.hardware.speed import Speed
from tests.backends.kernel_world import machine
from tests.gguf_files import QWEN_32B, sparse_model
from tests.tui.checks.conftest import GIB, Made, named
from tui.checks.disk import disk
from tui.checks.memory import memory
from tui.checks.processor import power, processor

GB = 10**9
SWAPS = "Filename Type Size Used Priority\n{} partition 8388604 {} 100\n"


def ram(**given: int) -> Machine:
    return Machine(ram=Ram(**{"total_bytes": 16 * GB, "available_bytes": 12 * GB, **given}))


def test_little_memory_is_a_warning_and_unknown_memory_is_a_dash(ground: Made) -> None:
    assert named(memory(ground(machine=ram())), "memory").found == "12.0 GB of 16.0 GB available"
    little = named(memory(ground(machine=ram(available_bytes=GB))), "memory")
    assert (little.state, little.harm) == ("warn", "memory-short")
    assert named(memory(ground()), "memory").found == "– of – available"
    limited = named(memory(ground(machine=ram(limit_bytes=4 * GB))), "memory")
    assert limited.found.endswith(", limited to 4.0 GB by a control group")


def test_swap_on_a_disk_is_a_warning_with_what_takes_it_back(ground: Made) -> None:
    used = {"swap_total_bytes": 8 * GB, "swap_used_bytes": 2 * GB}
    world = ground(machine=ram(**used))
    machine(world.root, {"proc/swaps": SWAPS.format("/dev/sda2", 2_000_000)})
    check = named(memory(world), "swap")
    assert (check.state, check.found) == ("warn", "2.0 GB of 8.0 GB in use")
    assert check.fix.startswith("sudo swapoff -a && sudo swapon -a")
    full = ground(machine=ram(**used, available_bytes=GB))
    assert named(memory(full), "swap").fix.startswith("grep -H VmSwap")


def test_swap_that_is_compressed_memory_or_hardly_used_is_fine(ground: Made) -> None:
    world = ground(machine=ram(swap_total_bytes=8 * GB, swap_used_bytes=2 * GB))
    machine(world.root, {"proc/swaps": SWAPS.format("/dev/zram0", 2_000_000)})
    assert named(memory(world), "swap").state == "ok"
    assert named(memory(ground(machine=ram(swap_total_bytes=0, swap_used_bytes=0))), "swap").found == "none"
    assert [check.name for check in memory(ground(machine=ram()))] == ["memory"]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Disk("rotating", "sda"), "It rotates."),
        (Disk("network", "nas:/x", file_system="nfs4"), "reached over a network"),
        (Disk("network", "C:", file_system="9p"), "a disk of Windows"),
        (Disk("unknown", "vda", read=Speed(90_000_000, "measured")), "measured as slow"),
    ],
)
def test_a_slow_disk_is_a_warning_with_the_way_out(ground: Made, found: Disk, why: str) -> None:
    check = named(disk(ground(machine=Machine(disk=found))), "disk")
    assert (check.state, check.harm) == ("warn", "disk-slow")
    assert why in check.found
    assert check.fix.startswith("mv ")
    assert " && ln -s " in check.fix


def test_a_fast_disk_says_its_measured_speed_and_what_is_free(ground: Made) -> None:
    fast = Disk("nvme", "nvme0n1", "980 PRO", free_bytes=400 * GB, read=Speed(3_400_000_000, "measured"))
    check = named(disk(ground(machine=Machine(disk=fast))), "disk")
    assert check.public == "NVMe SSD, 980 PRO, reads 3.4 GB/s (measured), 400.0 GB free."
    unmeasured = named(disk(ground(machine=Machine(disk=Disk("sata-ssd", "sda")))), "disk")
    assert unmeasured.public == "SATA SSD, speed not measured, free space unknown."


def test_sata_matters_once_a_model_that_streams_is_there(ground: Made, home: Path) -> None:
    sata = Machine(disk=Disk("sata-ssd", "sda"), ram=Ram(16 * GIB, 8 * GIB))
    assert named(disk(ground(machine=sata)), "disk").state == "ok"
    file = home / "data/models/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF/DeepSeek-R1-Distill-Qwen-32B-Q3_K_S.gguf"
    file.parent.mkdir(parents=True)
    sparse_model(file, QWEN_32B, "Q3_K_S", small_vocabulary=True)
    check = named(disk(ground(machine=sata)), "disk")
    assert (check.state, check.harm) == ("warn", "streams-slow")
    assert "32b-mixed-ssd reads from it at every token" in check.found
    ample = msgspec.structs.replace(sata, ram=Ram(64 * GIB, 60 * GIB))
    assert named(disk(ground(machine=ample)), "disk").state == "ok"


def test_a_full_disk_is_told_before_a_download_and_fails_before_a_chat_is_lost(ground: Made) -> None:
    little = named(disk(ground(machine=Machine(disk=Disk("nvme", free_bytes=2 * GB)))), "disk space")
    assert (little.state, little.harm) == ("warn", "disk-full")
    nothing = named(disk(ground(machine=Machine(disk=Disk("nvme", free_bytes=10_000_000)))), "disk space")
    assert (nothing.state, nothing.harm) == ("fail", "lost")


def test_a_slow_governor_is_told_where_the_hardware_does_not_choose_itself() -> None:
    (slow,) = power(PowerSettings("acpi-cpufreq", ("powersave",)))
    assert slow.found == "the governor is powersave: always the lowest frequency"
    assert slow.fix.startswith("echo schedutil | sudo tee ")
    (fine,) = power(PowerSettings("intel_pstate", ("powersave",), ("balance_performance",)))
    assert (fine.state, fine.found) == ("ok", "powersave, balance_performance")
    assert not list(power(PowerSettings()))


def test_every_setting_that_slows_is_told_with_its_own_command() -> None:
    settings = PowerSettings("intel_pstate", ("powersave",), ("power",), "low-power", 0.5, boost=False)
    found = list(power(settings))
    assert [check.found for check in found] == [
        "the energy preference is power",
        "the platform profile is low-power",
        "cores are limited to 50% of their highest frequency",
        "boost is switched off",
    ]
    assert found[-1].fix == "echo 0 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo"
    assert all(check.state == "warn" and check.fix for check in found)


def test_limits_battery_and_old_instructions_are_warnings(ground: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    cpu = Cpu("Old CPU", 4, 8, 4, 2, quota=2.0, instructions=("avx", "f16c"))
    found = list(processor(ground(machine=Machine(cpu=cpu, power="battery"))))
    assert named(found, "processor").found == "Old CPU, 4 cores, 8 threads"
    assert named(found, "processor limit").found == "a control group grants 2 CPUs' worth of time, of 8"
    assert named(found, "power").found == "on battery"
    assert named(found, "instructions").found == "there is no AVX2"


def test_more_threads_than_cores_in_a_preset_are_a_warning(home: Path, ground: Made) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('extends = "8b-q4_k_m"\n[backends.llama_cpp]\nthreads = 16\n')
    check = named(processor(ground(machine=Machine(cpu=Cpu("CPU", 8, 16, 8, 16)))), "threads")
    assert check.found == "preset mine: 16 threads on 8 cores"
    assert check.public == "a preset of the user's: 16 threads on 8 cores"
    assert check.fix == 'In mine.toml: threads = "auto"'
