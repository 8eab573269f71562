"""A fake NVIDIA driver in this very process, folders like the kernel's, and clocks that tests move."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from backends.energy.meter import Meter
from backends.energy.source import Opened, Opening, Unread

ROOT_ONLY = "Only root may read the processor's energy counters (RAPL)."


class Clock:
    """Monotonic time, and how long the machine slept."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def asleep(self) -> float:
        return self.slept


class FakeDriver:
    """The library of fake_nvml.c under the real binding; `says` writes what it will say."""

    def __init__(self, library: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
        import pynvml

        self.script = folder / "driver.txt"
        patch.setenv("FAKE_NVML", str(self.script))
        patch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library / "libnvidia-ml.so.1")))
        patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        self.says("")

    def says(self, text: str) -> None:
        fresh = self.script.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.script)


class Steady:
    """A source of a number of watts that tests change; `fails` makes it silent, `hangs_s` slow."""

    measured = True
    interval_s = 0.1
    note = ""
    problem = ""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, watts: float = 10.0, *, device: str = "CPU package 0",
        label: str = "RAPL", card: bool = False,
    ) -> None:  # fmt: skip
        self.device, self.label, self.card = device, label, card
        self.watts = watts
        self.fails = False
        self.hangs_s = 0.0
        self.users: bool | None = None
        self.asked: list[Collection[int] | None] = []
        self.reads = 0
        self._clock = clock
        self._total_uj = 0.0
        self._at_s = clock()
        self._told_uj: int | None = None

    def draw(self, watts: float) -> None:
        """Draw other watts from now on."""
        self._advance()
        self.watts = watts

    def read(self, now_s: float) -> int | None:
        self.reads += 1
        time.sleep(self.hangs_s)
        if self.fails:
            raise Unread
        self._advance()
        told, self._told_uj = self._told_uj, int(self._total_uj)
        return None if told is None else self._told_uj - told

    def in_use(self, pids: Collection[int] | None) -> bool | None:
        self.asked.append(pids)
        return self.users

    def _advance(self) -> None:
        now = self._clock()
        self._total_uj += self.watts * (now - self._at_s) * 1e6
        self._at_s = now


class Bench:
    """A meter without threads: time passes, and is sampled, when the test says so."""

    def __init__(self, *sources: Any, clock: Clock | None = None, opened: Sequence[Opened] = (), **given: Any) -> None:
        self.clock = clock or Clock()
        groups = [Opened((source,)) for source in sources] or list(opened)
        openings = [
            Opening(
                "test", "the graphics driver does not answer", lambda group=group: group,  # type: ignore[misc]
                cards=any(source.card for source in group.sources),
            )
            for group in groups
        ]  # fmt: skip
        self.meter = Meter(openings=openings, clock=self.clock, slept=self.clock.asleep, **given)
        self.open()

    def open(self) -> None:
        for lane in self.meter._recorder.lanes:
            if lane.enabled:
                lane.open()
        self.sample()

    def sample(self) -> None:
        for lane in self.meter._recorder.lanes:
            lane.sample()

    def run(self, seconds: float, step_s: float = 0.2) -> None:
        """Let time pass, with samples."""
        for _ in range(round(seconds / step_s)):
            self.clock.now += step_s
            self.sample()


def zone(root: Path, name: str, kind: str, energy: str = "0\n", range_uj: int = 262_143_328_850, **files: str) -> Path:
    """Make a powercap zone; `name` is "intel-rapl:0" or "intel-rapl:0/intel-rapl:0:1"."""
    folder = root / "sys/class/powercap" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(energy)
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    for file, text in files.items():
        (folder / file).write_text(text)
    return folder


def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Wait for something that threads bring about."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)
    return found
