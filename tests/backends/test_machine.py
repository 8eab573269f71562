"""One look at a machine: cards, memory, disk, power; and that nothing which hangs or fails keeps it from coming."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from backends import remembered
from backends.hardware import bandwidth, gpu_bandwidth, machine, patience
from backends.hardware.bandwidth import Bandwidth, Round, judged
from backends.hardware.disk import Disk
from backends.hardware.gpu import Gpu, GpuReading
from backends.hardware.machine import Card, Machine, power, snapshot, wsl2
from backends.hardware.memory import Ram, ram
from backends.hardware.patience import Question, Unanswered
from backends.hardware.speed import Speed
from tests import fake_driver
from tests.backends.kernel_world import Disks
from tests.backends.kernel_world import machine as files

GIB = 1 << 30
MEMINFO = "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nSwapTotal: 2097152 kB\nSwapFree: 1048576 kB\n"
NO_CARD = GpuReading(problem="No graphics card found.")


@pytest.fixture(autouse=True)
def nothing_under_way() -> Iterator[None]:
    patience._under_way.clear()
    yield
    patience._under_way.clear()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return files(tmp_path / "root", {"proc/meminfo": MEMINFO, "proc/cpuinfo": "model name : A CPU\n"})


def test_swap_is_told_and_a_machine_without_any_has_none_of_it(root: Path, tmp_path: Path) -> None:
    assert ram(root) == Ram(16 * GIB, 8 * GIB, None, 2 * GIB, GIB)
    none = files(tmp_path / "none", {"proc/meminfo": "SwapTotal: 0 kB\nSwapFree: 0 kB\n"})
    assert (ram(none).swap_total_bytes, ram(none).swap_used_bytes) == (0, 0)
    assert ram(tmp_path / "nothing").swap_total_bytes is None


def test_a_machine_without_a_card(root: Path, tmp_path: Path) -> None:
    found = snapshot(tmp_path, gpus=NO_CARD, root=root)
    assert found.gpus == ()
    assert found.notes == ("No graphics card found.",)
    assert found.ram.total_bytes == 16 * GIB
    assert found.cpu.name == "A CPU"
    assert (found.bandwidth, found.power, found.wsl2, found.origin) == (None, None, False, "measured")
    assert found.disk.read is None


def test_what_ours_hold_of_a_card_is_not_others(root: Path, tmp_path: Path) -> None:
    reading = GpuReading(
        (
            Gpu(0, "RTX 3070", 8 * GIB, 5 * GIB, 3 * GIB, 4 * GIB, "other 1"),
            Gpu(1, "RX 7600", 8 * GIB, GIB, 7 * GIB, None, "amdgpu"),
        ),
        "GPU 0: it is divided by MIG; the figures are the whole card's.",
    )
    found = snapshot(tmp_path, gpus=reading, root=root)
    assert found.gpus == (
        Card("RTX 3070", 8 * GIB, 3 * GIB, GIB, "other 1", index=0),
        Card("RX 7600", 8 * GIB, 7 * GIB, None, "amdgpu", index=1),
    )
    assert "MIG" in found.notes[0]


def test_without_processes_of_ours_all_that_is_used_is_others(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = GpuReading((Gpu(0, "RX 7600", 8 * GIB, GIB, 7 * GIB, None, "amdgpu"),))
    monkeypatch.setattr(machine, "read_gpus", lambda *_arguments: reading)
    assert snapshot(tmp_path, root=root).gpus[0].others_bytes == GIB
    assert snapshot(tmp_path, root=root, pids=[7]).gpus[0].others_bytes is None


SNAPSHOT = """
import sys, time, msgspec
from pathlib import Path
from backends.hardware import machine
began = time.monotonic()
found = machine.snapshot(Path("."), patience_s=float(sys.argv[1]))
print(msgspec.json.encode([time.monotonic() - began, found]).decode(), flush=True)
import os
os._exit(0)
"""


def through_the_binding(tmp_path: Path, says: str, patience_s: float) -> tuple[float, Machine]:
    """Take a snapshot in a child process whose NVIDIA driver is ours."""
    environment = {**os.environ, **fake_driver.environment(tmp_path / "driver", says)}
    command = [sys.executable, "-P", "-c", SNAPSHOT, str(patience_s)]
    child = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True)
    return msgspec.json.decode(child.stdout, type=tuple[float, Machine])


def test_two_cards_are_read_through_the_true_binding(tmp_path: Path) -> None:
    says = f"cards 2\ntext0 RTX 3070\ntext1 RTX 3060\ntotal1 {12 * GIB}\nfree1 {GIB}\nsliced1 1\n"
    _, found = through_the_binding(tmp_path, says, 10)
    assert [card.name for card in found.gpus] == ["RTX 3070", "RTX 3060"]
    assert (found.gpus[1].free_bytes, found.gpus[1].others_bytes) == (GIB, 11 * GIB)
    # This driver tells neither bus width nor clock.
    assert found.gpus[0].bandwidth is None
    assert "GPU 1: it is divided by MIG" in found.notes[0]


def test_a_driver_that_hangs_gives_no_card_and_a_note(tmp_path: Path) -> None:
    seconds, found = through_the_binding(tmp_path, "hang 30\n", 0.5)
    assert seconds < 3
    assert found.gpus == ()
    assert any("graphics driver has not answered" in note for note in found.notes)
    assert found.ram.total_bytes


def test_a_dead_disk_is_said_and_the_rest_is_there(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = threading.Event()
    monkeypatch.setattr(machine, "disk_under", lambda *_arguments: dead.wait(30))
    began = time.monotonic()
    found = snapshot(tmp_path, gpus=NO_CARD, root=root, patience_s=0.1)
    assert time.monotonic() - began < 2
    assert found.disk == Disk(note="It does not answer.")
    assert any("disk under the models' folder has not answered" in note for note in found.notes)
    dead.set()


def test_whatever_fails_is_a_note(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> Any:
        raise ZeroDivisionError("sick")

    monkeypatch.setattr(machine, "disk_under", fail)
    monkeypatch.setattr(machine, "read_gpus", fail)
    found = snapshot(tmp_path, root=root)
    assert (found.gpus, found.disk.kind) == ((), "unknown")
    assert [note for note in found.notes if "ZeroDivisionError: sick" in note] == list(found.notes)


def test_limits_of_a_container_are_noted(root: Path, tmp_path: Path) -> None:
    files(
        root,
        {
            "proc/self/cgroup": "0::/box\n",
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/box/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/box/cpu.max": "250000 100000\n",
        },
    )
    found = snapshot(tmp_path, gpus=GpuReading(), root=root)
    assert found.notes == (
        "A control group limits memory to 4.0 GiB.",
        "A control group grants 2.5 CPUs' worth of time.",
    )
    assert (found.ram.limit_bytes, found.cpu.quota) == (4 * GIB, 2.5)


def test_the_disk_comes_with_what_was_measured_on_it(root: Path, tmp_path: Path) -> None:
    disks = Disks(root)
    disks.mounted(tmp_path.resolve(), disks.number(disks.nvme()))
    before = snapshot(tmp_path, gpus=GpuReading(), root=root).disk
    machine.read_speed.remember(before, machine.read_speed.ReadSpeed(7 * 10**9, "direct", 1, 1.0))
    assert snapshot(tmp_path, gpus=GpuReading(), root=root).disk.read == Speed(7 * 10**9, "measured")


@pytest.mark.parametrize(
    ("release", "inside"),
    [
        ("5.15.153.1-microsoft-standard-WSL2", True),
        ("6.6.1-WSL2-mine", True),
        ("4.4.0-19041-Microsoft", False),
        ("6.8.0-generic", False),
    ],
)
def test_wsl2_is_known_by_its_kernel(tmp_path: Path, release: str, inside: bool) -> None:
    assert wsl2(files(tmp_path, {"proc/sys/kernel/osrelease": f"{release}\n"})) is inside


def test_wsl2_with_a_kernel_of_its_own_is_known_by_its_device(tmp_path: Path) -> None:
    assert wsl2(files(tmp_path, {"dev/dxg": ""}))


def test_power_comes_from_the_battery_the_mains_or_nobody_knows(tmp_path: Path) -> None:
    assert power(tmp_path / "nothing") is None
    (tmp_path / "desk/sys/class/power_supply").mkdir(parents=True)
    assert power(tmp_path / "desk") == "mains"
    supply = "sys/class/power_supply/BAT0"
    laptop = files(tmp_path / "laptop", {f"{supply}/type": "Battery\n", f"{supply}/status": "Discharging\n"})
    assert power(laptop) == "battery"
    (laptop / supply / "status").write_text("Charging\n")
    assert power(laptop) == "mains"


class FakeNvml:
    """The few calls of pynvml that tell a card's bandwidth."""

    NVML_CLOCK_MEM = 2

    class NVMLError(Exception):
        pass

    def __init__(self, cards: list[tuple[int, int] | None]) -> None:
        self.cards = cards
        self.nvmlInit = self.nvmlShutdown = lambda: None
        self.nvmlDeviceGetCount = lambda: len(cards)
        self.nvmlDeviceGetHandleByIndex = lambda index: index

    def nvmlDeviceGetMemoryBusWidth(self, index: int) -> int:  # noqa: N802
        return self._of(index)[1]

    def nvmlDeviceGetMaxClockInfo(self, index: int, clock: int) -> int:  # noqa: N802
        assert clock == self.NVML_CLOCK_MEM
        return self._of(index)[0]

    def _of(self, index: int) -> tuple[int, int]:
        card = self.cards[index]
        if card is None:
            raise self.NVMLError
        return card


def test_a_cards_bandwidth_follows_from_clock_and_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    # Makers' data sheets: RTX 3070 448 GB/s, RTX 3060 8 GB 240, RTX 4060 laptop 256, RTX 3080 760.
    cards = [(7001, 256), (7501, 128), (8001, 128), (9501, 320), None, (0, 256)]
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(cards))
    found = gpu_bandwidth.of_nvidia()
    assert {index: round(speed.bytes_per_s / 1e9) for index, speed in found.items()} == {0: 448, 1: 240, 2: 256, 3: 760}
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_bandwidth.of_nvidia() == {}


def test_an_nvidia_card_gets_its_bandwidth(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpu_bandwidth", SimpleNamespace(of_nvidia=lambda: {0: Speed(5, "published")}))
    reading = GpuReading((Gpu(0, "X", 2, 1, 1, 0, "nvidia 560"), Gpu(0, "Y", 2, 1, 1, 0, "amdgpu")))
    found = snapshot(tmp_path, gpus=reading, root=root)
    assert [card.bandwidth for card in found.gpus] == [Speed(5, "published"), None]


def test_a_question_that_hangs_is_asked_once_and_again_when_it_came_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "HANGS_AFTER_S", 0.05)
    free, asked = threading.Event(), []

    def ask() -> int:
        asked.append(1)
        free.wait(30)
        return 7

    with pytest.raises(Unanswered) as caught:
        Question("one", ask).answer(0.1)
    assert caught.value.silent_s >= 0.1
    with pytest.raises(Unanswered):
        Question("one", ask).answer(10)
    assert len(asked) == 1
    assert Question("another", lambda: 8).answer(10) == 8
    free.set()
    deadline = time.monotonic() + 10
    while "one" in patience._under_way and time.monotonic() < deadline:
        time.sleep(0.005)
    assert Question("one", ask).answer(10) == 7


def test_a_system_that_allows_no_thread_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(Unanswered):
        Question("one", lambda: 1).answer(1)
    assert patience._under_way == {}


QUIET = [Round(rate * 1e9) for rate in (12, 20, 21, 19.5, 20.5, 20.2)]


def test_rounds_that_agree_give_a_bandwidth_and_slow_ones_do_not_count() -> None:
    found = judged(QUIET, 60e9, 4)
    assert found.bytes_per_s == 20_500_000_000
    assert found.spread == pytest.approx(21 / 20.2 - 1)
    assert found.problem == ""


@pytest.mark.parametrize(
    ("rounds", "cached", "words"),
    [
        ([Round(rate * 1e9) for rate in (10, 12, 14, 18, 22, 30)], 60e9, "differ by 67%"),
        ([Round(20e9, 0.7)] * 6, 60e9, "Something else computes"),
        (QUIET, 21e9, "no faster inside the caches"),
        (QUIET[:3], 60e9, "clock or the threads"),
        ([Round(math.nan)] * 6, 60e9, "clock or the threads"),
        ([Round(0)] * 6, 60e9, "clock or the threads"),
    ],
)
def test_a_bandwidth_that_cannot_be_trusted_is_none_and_says_why(
    rounds: list[Round], cached: float, words: str
) -> None:
    found = judged(rounds, cached, 4)
    assert found.bytes_per_s is None
    assert words in found.problem


def test_too_little_memory_or_too_large_caches_are_said(root: Path) -> None:
    files(root, {"proc/meminfo": "MemTotal: 900000 kB\nMemAvailable: 600000 kB\n"})
    assert "Too little memory" in bandwidth.measure(root).problem
    cache = "sys/devices/system/cpu/cpu0/cache"
    files(root, {f"{cache}/index3/size": "1024M\n", f"{cache}/index0/size": "48K\n", f"{cache}/index1/size": "?\n"})
    assert sorted(bandwidth._caches(root)) == [48 * 1024, 1 << 30]
    assert "caches are too large" in bandwidth.measure(root).problem


def test_the_memory_is_truly_read_and_what_can_be_trusted_is_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "_ROUND_S", 0.01)
    monkeypatch.setattr(bandwidth, "_PAUSE_S", 0.0)
    monkeypatch.setattr(bandwidth, "_LEAST_BYTES", 64 << 20)
    seen: list[tuple[list[Round], float]] = []

    def quiet(rounds: list[Round], cached: float, threads: int) -> Bandwidth:
        seen.append((rounds, cached))
        return Bandwidth(123, threads=threads)

    monkeypatch.setattr(bandwidth, "judged", quiet)
    assert bandwidth.recall(root) is None
    assert bandwidth.measure(root, rounds=4).bytes_per_s == 123
    [(rounds, cached)] = seen
    assert len(rounds) == 4
    assert all(1e8 < one.bytes_per_s < 1e13 for one in rounds)
    assert cached > 1e8
    assert bandwidth.recall(root) == Speed(123, "measured")
    remembered.write("memory-bandwidth", bandwidth._key(root), "nonsense")
    assert bandwidth.recall(root) is None


def test_a_system_that_allows_too_few_threads_leaves_the_bandwidth_unknown(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bandwidth, "_ROUND_S", 0.005)
    monkeypatch.setattr(bandwidth, "_LEAST_BYTES", 16 << 20)
    monkeypatch.setattr(bandwidth, "usable_cores", lambda _root: 3)
    true_start, left = threading.Thread.start, [4]

    def start(thread: threading.Thread) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        true_start(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    found = bandwidth.measure(root)
    assert found.bytes_per_s is None
    assert "can't start new thread" in found.problem
    assert bandwidth.recall(root) is None


def test_a_machine_survives_the_wire(root: Path, tmp_path: Path) -> None:
    found = snapshot(tmp_path, gpus=NO_CARD, root=root)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Machine) == found
