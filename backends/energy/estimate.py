"""An estimate of the processor's energy from the time that it computed, for machines whose counters are not readable.

Energy = CPU seconds · (watts at full load / number of CPUs). It knows nothing of clocks, of what idle parts draw, or
of memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

from backends.base import Place
from backends.energy import rapl
from backends.energy.source import COUNTER_INTERVAL_S, Unread

USUAL_W = 65.0
"""Base power of ordinary desktop processors: TDP of the Ryzen 5600 and 7700, base power of the Core i5-12400 and
i5-13500, by their makers' data sheets."""
_PLAUSIBLE_W = (3.0, 1000.0)
"""Boards that lift the limit write 4095 W."""


def full_load_w(root: Path) -> float:
    """Return the watts of all processors at full load: their long-term limit where there is one, else 65 W."""
    limit = rapl.limit_w(root)
    return limit if limit is not None and _PLAUSIBLE_W[0] <= limit <= _PLAUSIBLE_W[1] else USUAL_W


class CpuTime:
    """CPU time at full-load watts: of this process, or of the machine where a server on it computes."""

    device = "CPU"
    measured = False
    interval_s = COUNTER_INTERVAL_S
    card = False
    note = ""

    def __init__(
        self,
        root: Path,
        place: Callable[[], Place],
        cpus: int | None = None,
        process_time: Callable[[], float] = time.process_time,
    ) -> None:
        watts = full_load_w(root)
        self.label = f"CPU time at {watts:.0f} W"
        self.problem = ""
        self._watts_per_cpu = watts / (cpus or os.cpu_count() or 1)
        self._stat = root / "proc/stat"
        self._place = place
        self._process_time = process_time
        self._last: tuple[Place, float] | None = None

    def read(self, now_s: float) -> int | None:  # noqa: ARG002 - CPU time is a clock of its own
        place = self._place()
        seconds = busy_s(self._stat) if place == "machine" else self._process_time()
        if seconds is None:
            self.problem = "How long the processor computed cannot be read."
            raise Unread
        self.problem = ""
        last, self._last = self._last, (place, seconds)
        if last is None or last[0] != place or seconds < last[1]:
            return None
        return round((seconds - last[1]) * self._watts_per_cpu * 1e6)

    def in_use(self, pids: Collection[int] | None) -> bool | None:  # noqa: ARG002 - a processor is always in use
        return True


def busy_s(stat: Path) -> float | None:
    """Return the seconds that the machine's CPUs have computed, together: man 5 proc_stat. None if unknown.

    Guests are in `user` already; waiting and what a hypervisor took away are no work of ours.
    """
    try:
        with stat.open("rb") as opened:
            name, user, nice, system, _idle, _iowait, irq, softirq = opened.readline().split()[:8]
        if name != b"cpu":
            return None
        return sum(map(int, (user, nice, system, irq, softirq))) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
