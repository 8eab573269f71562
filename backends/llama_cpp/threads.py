"""The CPUs that a preset names, and how busy those are that we may use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from backends.errors import BadOptions
from backends.hardware.cpu_limits import allowed_cpus
from backends.hardware.kernel_files import text

_ROOT = Path("/")


def busy_seconds(root: Path = _ROOT) -> float | None:
    """Return the CPU time that all processes have had so far on the CPUs that we may use; None if unknown.

    From /proc/stat (proc(5)): the columns are user nice system idle iowait irq softirq steal, in clock ticks.
    """
    ticks = 0
    wanted = {f"cpu{cpu}" for cpu in allowed_cpus()}
    for line in text(root / "proc/stat").splitlines():
        name, *columns = line.split()
        if name in wanted and len(columns) >= 8:
            wanted.discard(name)
            ticks += sum(int(column) for place, column in enumerate(columns[:8]) if place not in (3, 4))
    return None if wanted else ticks / os.sysconf("SC_CLK_TCK")


def parse_cpus(named: str) -> set[int]:
    """Read a CPU list such as "0-7,12". Raises BadOptions if it is none, or names a CPU that we may not use."""
    cpus: set[int] = set()
    for part in filter(None, (part.strip() for part in named.split(","))):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise BadOptions("cpu_affinity is no list of CPUs", f'"{part}"', 'Write it like "0-7,12".')
        cpus.update(range(first, last + 1))
    missing = sorted(cpus - allowed_cpus())
    if missing:
        raise BadOptions(
            "cpu_affinity names CPUs that this process may not use",
            f"Not available: {_listed(missing)}. Available: {_listed(sorted(allowed_cpus()))}.",
            "Change cpu_affinity in the preset.",
        )
    return cpus


def pin(cpus: Iterable[int]) -> bool:
    """Bind every thread of this process, and so those that it starts later, to `cpus`; say whether that is possible."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    wanted = set(cpus)
    for task in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), wanted)
        except ProcessLookupError:  # the thread has just ended
            continue
    return True


def _listed(cpus: list[int]) -> str:
    shown = ", ".join(str(cpu) for cpu in cpus[:16])
    return shown + (", …" if len(cpus) > 16 else "")
