"""The machine's memory, and what of it this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends.hardware.kernel_files import number

_UNLIMITED = 1 << 60
"""cgroup v1 writes "no limit" as the largest multiple of a page below 2⁶³."""


class Ram(msgspec.Struct, frozen=True):
    """Memory in bytes; None means unknown.

    `available_bytes` is what can be had without swapping, inside the limit as well: pages that are only copies of files
    count as free, whoever used them last, so that a model that was read once leaves no less. `limit_bytes` is the
    smallest limit of the control groups around this process, None where there is none. Swap is the whole machine's; a
    machine without any has 0 bytes of it.
    """

    total_bytes: int | None
    available_bytes: int | None
    limit_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_used_bytes: int | None = None


def ram(root: Path = Path("/")) -> Ram:
    """Read the machine's memory. `root` is where proc and sys are found."""
    info = _meminfo(root / "proc/meminfo")
    total, available = info.get("MemTotal"), info.get("MemAvailable")
    if total is None:
        total = _sysconf_total()
    limit = None
    for bound, used in _limits(root, total):
        limit = bound if limit is None else min(limit, bound)
        if used is not None and available is not None:
            available = max(0, min(available, bound - used))
    swap, unused = info.get("SwapTotal"), info.get("SwapFree")
    swapped = None if swap is None or unused is None else max(0, swap - unused)
    return Ram(total, available, limit, swap, swapped)


def short_limit(pid: int, root: Path = Path("/")) -> int | None:
    """Return the limit of the control group that leaves a process less memory than the machine could give it.

    None if the machine itself is what is short: then memory that others give back helps.
    """
    info = _meminfo(root / "proc/meminfo")
    least, found = info.get("MemAvailable"), None
    for bound, used in _limits(root, info.get("MemTotal"), pid):
        if used is not None and least is not None and bound - used < least:
            least, found = bound - used, bound
    return found


def process_rss(pid: int, root: Path = Path("/")) -> int | None:
    """Return the resident memory of a process in bytes, None if it is gone or this cannot be read."""
    try:
        resident = int((root / f"proc/{pid}/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return resident * os.sysconf("SC_PAGE_SIZE")


def process_own(pid: int, root: Path = Path("/")) -> int | None:
    """Return the bytes that come free when a process ends: its resident memory without what lies in files as well.

    Parts of files that it has locked in memory count: nobody else can have them before. None if it is gone or this
    cannot be read. https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html
    """
    try:
        _, resident, shared, *_ = (root / f"proc/{pid}/statm").read_text("ascii").split()
        all_of_it, in_files = int(resident), int(shared)
    except (OSError, ValueError):
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    # Of what is locked, the kernel does not say how much lies in files.
    locked = min(_locked(root / f"proc/{pid}/status"), in_files * page)
    return max(0, all_of_it - in_files) * page + locked


def _locked(path: Path) -> int:
    """Return the bytes that a process has locked in memory, 0 where nobody tells."""
    return _meminfo(path).get("VmLck", 0)


def _meminfo(path: Path) -> dict[str, int]:
    """Return /proc/meminfo, or a file like it, in bytes."""
    values = {}
    for line in _lines(path):
        key, _, rest = line.partition(":")
        parts = rest.split()
        if parts and parts[0].isdecimal():
            values[key] = int(parts[0]) * (1024 if parts[1:] == ["kB"] else 1)
    return values


def _sysconf_total() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _limits(root: Path, total: int | None, pid: int | str = "self") -> Iterator[tuple[int, int | None]]:
    """Yield the limit and the working set of each control group around a process that limits it at all."""
    for group in _groups(root, pid):
        bound = number(group / "memory.max") or number(group / "memory.limit_in_bytes")
        if bound is not None and bound < _UNLIMITED and (total is None or bound < total):
            yield bound, _working_set(group)


def _groups(root: Path, pid: int | str) -> Iterator[Path]:
    """Yield the memory control groups of a process, innermost first, of version 1 and 2, as they are seen from here.

    A container sees its own group mounted as the whole tree, so folders that are not there are expected.
    """
    own = dict(_own_groups(root / f"proc/{pid}/cgroup"))
    for line in _lines(root / "proc/self/mountinfo"):
        # https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            path = own.get("")
        elif kind[0] == "cgroup" and "memory" in kind[2].split(","):
            path = own.get("memory")
        else:
            continue
        mounted, top = fields[3].rstrip("/"), root / fields[4].lstrip("/")
        inner = (path or "/").removeprefix(mounted).strip("/")
        folder = top / inner if ".." not in inner.split("/") else top
        while folder != top:
            yield folder
            folder = folder.parent
        yield top


def _own_groups(file: Path) -> Iterator[tuple[str, str]]:
    """Yield controller and path of each group of a process; the controller of version 2 is ""."""
    for line in _lines(file):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            yield controller, path


def _working_set(group: Path) -> int | None:
    """Return a group's memory that cannot be dropped at once: its use without clean pages of files.

    Active ones are dropped as well once others need room, as the kernel's own MemAvailable has it. What is locked is
    on neither list. https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/memory.html
    """
    used = number(group / "memory.current")
    if used is None:
        used = number(group / "memory.usage_in_bytes")
    if used is None:
        return None
    stat = dict(line.split(maxsplit=1) for line in _lines(group / "memory.stat") if " " in line)
    files = _figure(stat, "inactive_file") + _figure(stat, "active_file")
    waiting = sum(_figure(stat, name) for name in ("file_dirty", "file_writeback", "dirty", "writeback"))
    return max(0, used - max(0, files - waiting))


def _figure(stat: dict[str, str], name: str) -> int:
    """Return a figure of memory.stat. Version 1 has those of the groups below only under another name."""
    value = stat.get(f"total_{name}", stat.get(name, "0")).strip()
    return int(value) if value.isdecimal() else 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
