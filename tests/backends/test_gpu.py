"""GPU readings through the real NVML binding, on a driver library of our own; AMD on folders like the kernel's.

The library is compiled from fake_nvml.c, which says what can be steered, and found by a child process only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends.hardware.gpu import Gpu, GpuReading, read_gpus
from backends.hardware.sampler import GpuSampler
from tests import fake_driver

GIB = 1 << 30
READ = """
import json, sys, msgspec
from pathlib import Path
from backends.hardware.gpu import read_gpus
pids = json.loads(sys.argv[1])
print(msgspec.json.encode(read_gpus(pids, Path(sys.argv[2]))).decode())
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a libnvidia-ml.so.1 compiled from fake_nvml.c."""
    return fake_driver.build(tmp_path_factory.mktemp("nvml"))


class Driver:
    """The fake driver: `says` writes what it will say, `read` reads the cards in a child process."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.script = folder / "driver.txt"
        self.empty = folder / "no-cards"
        self.environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(self.script)}

    def says(self, text: bytes | str) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        # The child reads the file at any moment: it must never see half of it.
        fresh = self.script.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.replace(self.script)

    def read(self, pids: list[int] | None = None) -> GpuReading:
        command = [sys.executable, "-P", "-c", READ, json.dumps(pids), str(self.empty)]
        child = subprocess.run(command, env=self.environment, capture_output=True, timeout=30, check=True)
        return msgspec.json.decode(child.stdout, type=GpuReading)


@pytest.fixture
def driver(library: Path, tmp_path: Path) -> Driver:
    driver = Driver(library, tmp_path)
    driver.says("")
    return driver


def test_a_card_is_read_with_its_name_memory_and_driver(driver: Driver) -> None:
    driver.says(f"text0 NVIDIA GeForce RTX 3070\ntotal0 {8 * GIB}\nfree0 {3 * GIB}\ndriver 560.1\n")
    reading = driver.read()
    assert reading == GpuReading(
        (Gpu(0, "NVIDIA GeForce RTX 3070", 8 * GIB, 5 * GIB, 3 * GIB, None, "nvidia 560.1"),), ""
    )


def test_our_share_counts_our_processes_once_and_nobody_elses(driver: Driver) -> None:
    driver.says("compute0 41 1000 42 700 99 5\ngraphics0 42 700\n")
    assert driver.read([41, 42]).gpus[0].ours_bytes == 1700


def test_without_processes_of_ours_our_share_is_nothing(driver: Driver) -> None:
    driver.says("compute0 99 5\n")
    assert driver.read([]).gpus[0].ours_bytes == 0


@pytest.mark.parametrize("says", ["processes 3\n", "processes 4\n", "compute0 41 -1\n"])
def test_our_share_is_unknown_where_the_driver_does_not_tell(driver: Driver, says: str) -> None:
    driver.says(says)
    reading = driver.read([41])
    assert reading.gpus[0].ours_bytes is None
    assert reading.gpus[0].total_bytes == 8 * GIB


def test_a_container_does_not_take_its_own_process_numbers_for_the_drivers(driver: Driver) -> None:
    driver.says("compute0 99 5\n")
    in_container = Path("/proc/self/ns/pid").stat().st_ino != 0xEFFFFFFC
    assert driver.read([41]).gpus[0].ours_bytes == (None if in_container else 0)


def test_a_share_that_is_unknown_for_one_of_our_processes_is_unknown_at_all(driver: Driver) -> None:
    driver.says("compute0 41 1000 42 -1\n")
    assert driver.read([41, 42]).gpus[0].ours_bytes is None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, "not loaded"),
        (18, "restart the machine"),
        (4, "no permission"),
        (15, "lost"),
        (999, "without a reason"),
        (20, "NVMLError_Memory (20)"),
    ],
)
def test_a_driver_that_cannot_be_opened_is_named(driver: Driver, code: int, words: str) -> None:
    driver.says(f"init {code}\n")
    reading = driver.read()
    assert reading.gpus == ()
    assert words in reading.problem


def test_no_driver_library_means_no_card(driver: Driver, tmp_path: Path) -> None:
    # A file that is no library hides a real one and cannot be loaded.
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "libnvidia-ml.so.1").write_text("no library")
    driver.environment["LD_LIBRARY_PATH"] = str(broken)
    assert driver.read() == GpuReading((), "No graphics card found: there is no NVIDIA driver here and no AMD card.")


def test_a_driver_too_old_for_a_call_is_named(driver: Driver, tmp_path: Path) -> None:
    source = tmp_path / "old.c"
    source.write_text("int nvmlInitWithFlags(unsigned flags) { (void)flags; return 0; }\n")
    driver.environment["LD_LIBRARY_PATH"] = str(fake_driver.build(tmp_path, source))
    assert driver.read() == GpuReading((), "The NVIDIA driver is too old to tell.")


def test_a_driver_without_cards_is_said(driver: Driver) -> None:
    driver.says("cards 0\n")
    assert driver.read() == GpuReading((), "The NVIDIA driver is loaded but finds no card.")


@pytest.mark.parametrize(("code", "words"), [(15, "GPU 1: The card is lost"), (3, "GPU 1: This card does not tell")])
def test_one_card_that_fails_leaves_the_others(driver: Driver, code: int, words: str) -> None:
    driver.says(f"cards 3\nmemory1 {code}\n")
    reading = driver.read()
    assert [gpu.index for gpu in reading.gpus] == [0, 2]
    assert words in reading.problem


def test_a_name_that_is_no_text_does_not_cost_the_figures(driver: Driver) -> None:
    driver.says(b"text0 RTX \xff\xfe\ndriver \xff\n")
    reading = driver.read()
    assert reading.gpus == (Gpu(0, "NVIDIA GPU 0", 8 * GIB, 0, 8 * GIB, None, "nvidia"),)
    assert "name cannot be read" in reading.problem


def test_control_characters_in_a_name_are_left_out(driver: Driver) -> None:
    driver.says("text0 RTX\x1b[31m \u202e3070\n")
    assert driver.read().gpus[0].name == "RTX[31m 3070"


def test_a_card_divided_by_mig_is_marked(driver: Driver) -> None:
    driver.says("sliced0 1\n")
    reading = driver.read()
    assert reading.gpus[0].total_bytes == 8 * GIB
    assert "MIG" in reading.problem


def test_a_card_without_mig_is_not_marked(driver: Driver) -> None:
    driver.says("mig 3\n")
    assert driver.read().problem == ""


SAMPLE = """
import json, sys, time, msgspec
from backends.hardware import sampler
sampler.HANGS_AFTER_S = float(sys.argv[1])
watch = sampler.GpuSampler(0.05)
watch.start()
for line in sys.stdin:
    started = time.monotonic()
    sample = watch.latest()
    took = time.monotonic() - started
    print(msgspec.json.encode([sample and sample.reading, sample and sample.age_s, took]).decode(), flush=True)
"""


class SamplerChild:
    def __init__(self, driver: Driver, hangs_after_s: float) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-P", "-c", SAMPLE, str(hangs_after_s)],
            env=driver.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def latest(self) -> tuple[GpuReading | None, float | None, float]:
        assert self.child.stdin
        assert self.child.stdout
        self.child.stdin.write(b"\n")
        self.child.stdin.flush()
        return msgspec.json.decode(self.child.stdout.readline(), type=tuple[GpuReading | None, float | None, float])

    def until(self, wanted: Any, timeout_s: float = 15) -> GpuReading:
        """Ask again and again until a reading is as wanted; every answer has to come at once."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            reading, _, took = self.latest()
            assert took < 0.1
            if reading is not None and wanted(reading):
                return reading
            time.sleep(0.02)
        raise AssertionError(f"it never came; the last one was {reading}")

    def end(self) -> None:
        self.child.kill()
        self.child.communicate()


@pytest.fixture
def sampler(driver: Driver) -> Iterator[SamplerChild]:
    child = SamplerChild(driver, 0.5)
    yield child
    child.end()


def test_a_card_lost_in_the_middle_is_noticed_and_found_again(driver: Driver, sampler: SamplerChild) -> None:
    assert sampler.until(lambda reading: reading.gpus).problem == ""
    driver.says("memory0 15\n")
    assert "lost" in sampler.until(lambda reading: not reading.gpus).problem
    driver.says(f"free0 {GIB}\n")
    assert sampler.until(lambda reading: reading.gpus).gpus[0].free_bytes == GIB


def test_a_driver_that_hangs_blocks_nobody_and_is_named(driver: Driver, sampler: SamplerChild) -> None:
    sampler.until(lambda reading: reading.gpus)
    driver.says("hang 2\n")
    reading = sampler.until(lambda reading: not reading.gpus)
    assert "has not answered" in reading.problem
    driver.says("")
    assert sampler.until(lambda reading: reading.gpus).problem == ""


def test_a_driver_that_hangs_from_the_start_is_named(driver: Driver) -> None:
    driver.says("hang 30\n")
    child = SamplerChild(driver, 0.3)
    try:
        assert "has not answered" in child.until(lambda reading: not reading.gpus).problem
    finally:
        child.end()


def test_the_sampler_has_nothing_before_its_first_reading_and_reads_at_once_when_asked() -> None:
    asked: list[frozenset[int]] = []
    free = threading.Semaphore(0)

    def read(pids: Any) -> GpuReading:
        free.acquire()
        asked.append(pids)
        return GpuReading((Gpu(0, "card", 2, 1, 1),))

    sampler = GpuSampler(interval_s=3600, read=read)
    assert sampler.latest() is None
    sampler.start()
    assert sampler.latest() is None
    free.release()
    wait_for(lambda: sampler.latest() is not None)
    sample = sampler.latest()
    assert sample is not None
    assert sample.reading.gpus[0].name == "card"
    assert 0 <= sample.age_s < 5
    sampler.watch({7})
    free.release()
    wait_for(lambda: len(asked) == 2)
    assert asked == [frozenset(), frozenset({7})]
    sampler.stop()


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def amd_card(drm: Path, number: int, **files: str) -> None:
    device = drm / f"card{number}" / "device"
    device.mkdir(parents=True)
    for name, text in files.items():
        (device / name).write_text(text)


@pytest.fixture
def no_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules makes the import fail, whatever driver this machine has.
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.mark.usefixtures("no_nvidia")
def test_amd_cards_are_read_from_sysfs(tmp_path: Path) -> None:
    (tmp_path / "card0-DP-1").mkdir()
    (tmp_path / "renderD128").mkdir()
    amd_card(tmp_path, 0, vendor="0x8086\n")
    amd_card(tmp_path, 2, mem_info_vram_total=f"{8 * GIB}\n", mem_info_vram_used=f"{GIB}\n", product_name="Navi\n")
    amd_card(tmp_path, 10, mem_info_vram_total=f"{GIB}\n", mem_info_vram_used="0\n")
    assert read_gpus(drm=tmp_path) == GpuReading(
        (
            Gpu(0, "Navi", 8 * GIB, GIB, 7 * GIB, None, "amdgpu"),
            Gpu(1, "AMD card10", GIB, 0, GIB, None, "amdgpu"),
        ),
        "",
    )


@pytest.mark.usefixtures("no_nvidia")
def test_an_amd_card_that_cannot_be_read_is_named_and_is_no_zero(tmp_path: Path) -> None:
    amd_card(tmp_path, 0, mem_info_vram_total="?\n", mem_info_vram_used="0\n")
    assert read_gpus(drm=tmp_path) == GpuReading((), "AMD card0: its memory cannot be read.")


@pytest.mark.usefixtures("no_nvidia")
def test_a_missing_binding_is_said_where_there_is_no_other_card(tmp_path: Path) -> None:
    assert "nvidia-ml-py is missing" in read_gpus(drm=tmp_path / "none").problem
