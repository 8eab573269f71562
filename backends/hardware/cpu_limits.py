"""Which CPUs this process may use: affinity, sibling threads and the control groups' quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

from backends.hardware.kernel_files import text

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Return the number of physical cores that this process may use: affinity, sibling threads and cgroup quota.

    A second thread on the same core does not make token generation faster. `root` is where /sys and /proc lie.
    """
    cores = {core_of(cpu, root) for cpu in allowed_cpus()}
    quota = cpu_quota(root)
    return max(1, min(len(cores), math.ceil(quota) if quota else len(cores)))


def usable_cpus(root: Path = _ROOT) -> int:
    """Return the number of CPUs, sibling threads included, that this process may use at once."""
    count = len(allowed_cpus())
    quota = cpu_quota(root)
    return max(1, min(count, math.ceil(quota) if quota else count))


def allowed_cpus() -> set[int]:
    """Return the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Return the CPUs' worth of time that the cgroup grants (the least on the way up), None if it is unlimited."""
    quotas = []
    for line in text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            folder = root / "sys/fs/cgroup"
            for level in (folder, *_levels(folder, path)):
                limit, _, period = text(level / "cpu.max").partition(" ")
                quotas.append(_ratio(limit, period))
        elif "cpu" in controllers.split(","):
            folder = root / "sys/fs/cgroup/cpu"
            for level in (folder, *_levels(folder, path)):
                limit, period = text(level / "cpu.cfs_quota_us"), text(level / "cpu.cfs_period_us")
                quotas.append(_ratio(limit.strip(), period.strip()))
    found = [quota for quota in quotas if quota is not None]
    return min(found) if found else None


def core_of(cpu: int, root: Path = _ROOT) -> str:
    """Return a name of the physical core that a CPU belongs to: the list of its sibling threads."""
    topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    siblings = text(topology / "core_cpus_list") or text(topology / "thread_siblings_list")
    return siblings.strip() or str(cpu)


def _levels(folder: Path, path: str) -> list[Path]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [folder.joinpath(*parts[: depth + 1]) for depth in range(len(parts))]


def _ratio(limit: str, period: str) -> float | None:
    if limit.isdigit() and period.isdigit() and int(period) > 0:
        return int(limit) / int(period)
    return None
