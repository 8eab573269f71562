"""The processor: its cores, which of them this process may use, and the instructions that matter to engines.

Linux tells through sysfs and /proc; macOS through sysctl. What is not told is None or empty.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from backends.hardware import sysctl
from backends.hardware.cpu_limits import core_of, cpu_quota, usable_cores, usable_cpus
from backends.hardware.kernel_files import cpu_list, number, printable, text

_ROOT = Path("/")
_X86 = {
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx_vnni": "avx-vnni",
    "avx512f": "avx512",
    "avx512_vnni": "avx512-vnni",
    "avx512_bf16": "avx512-bf16",
    "amx_tile": "amx",
}
_ARM = {
    "neon": "neon",
    "asimd": "neon",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
"""The kernel's words in /proc/cpuinfo, and ours: arch/x86/include/asm/cpufeatures.h, arch/arm64/kernel/cpuinfo.c."""
_DARWIN = {
    "hw.optional.avx1_0": "avx",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.fma": "fma",
    "hw.optional.f16c": "f16c",
    "hw.optional.avx512f": "avx512",
    "hw.optional.neon": "neon",
    "hw.optional.AdvSIMD": "neon",
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
}
_LITTLE = 0.5
"""A core of less than half of the strongest one's capacity is an efficiency core. Capacities are relative to 1024:
https://docs.kernel.org/scheduler/sched-capacity.html. Arm's little cores have 0.2 to 0.4, its middle ones 0.7 up."""


class Cpu(msgspec.Struct, frozen=True):
    """The processor, or all of them together. None means unknown.

    `cores` are physical and `threads` are what the system schedules on, both of the whole machine. `usable_cores` and
    `usable_threads` are what this process may use at once: its affinity and its control groups' `quota`, which is in
    CPUs' worth of time and None where there is no limit. `performance_cores` and `efficiency_cores` are physical, and
    None where all are alike or the kernel does not tell.
    """

    name: str = ""
    cores: int | None = None
    threads: int | None = None
    usable_cores: int | None = None
    usable_threads: int | None = None
    quota: float | None = None
    performance_cores: int | None = None
    efficiency_cores: int | None = None
    instructions: tuple[str, ...] = ()


def cpu(root: Path = _ROOT) -> Cpu:
    """Read the processor. `root` is where proc and sys are found."""
    if sys.platform == "darwin" and root == _ROOT:
        return of_darwin(sysctl.number, sysctl.text)
    described = text(root / "proc/cpuinfo")
    online = _online(root, described)
    strong, weak = _kinds(root, online)
    return Cpu(
        cpu_name(root),
        len(_cores(online, root)) if online and _told(root) else None,
        len(online) or None,
        usable_cores(root),
        usable_cpus(root),
        cpu_quota(root),
        strong,
        weak,
        _instructions(described),
    )


def of_darwin(number_of: Callable[[str], int | None], text_of: Callable[[str], str]) -> Cpu:
    """Read the processor of a Mac from sysctl: `man 3 sysctl`, and hw.perflevel* on Apple silicon."""
    cores, threads = number_of("hw.physicalcpu"), number_of("hw.logicalcpu")
    strong = weak = None
    if number_of("hw.nperflevels") == 2:
        strong, weak = number_of("hw.perflevel0.physicalcpu"), number_of("hw.perflevel1.physicalcpu")
    found = [ours for theirs, ours in _DARWIN.items() if number_of(theirs)]
    if not found and platform.machine() == "arm64":
        found = ["neon"]  # arm64 always has it, and newer systems no longer say so
    name = printable(text_of("machdep.cpu.brand_string")) or platform.machine()
    return Cpu(name, cores, threads, cores, threads, None, strong, weak, tuple(dict.fromkeys(found)))


def cpu_name(root: Path = _ROOT) -> str:
    """Return what the kernel calls the CPU, or at least its architecture."""
    described = text(root / "proc/cpuinfo")
    match = re.search(r"^(?:model name|Model|cpu model|Processor)\s*:\s*(.+)$", described, re.MULTILINE)
    return printable(match[1].strip()) if match else platform.machine()


def _online(root: Path, described: str) -> set[int]:
    online = cpu_list(text(root / "sys/devices/system/cpu/online"))
    return online or {int(found) for found in re.findall(r"^processor\s*:\s*(\d{1,5})\s*$", described, re.MULTILINE)}


def _told(root: Path) -> bool:
    """Say whether sysfs tells which CPUs share a core."""
    return any((root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology"))


def _cores(cpus: set[int], root: Path) -> set[str]:
    return {core_of(one, root) for one in cpus}


def _kinds(root: Path, online: set[int]) -> tuple[int | None, int | None]:
    """Return the numbers of performance and of efficiency cores, None twice where there is one kind.

    Intel's hybrids show each kind as a performance monitor of its own (tools/perf/Documentation/intel-hybrid.txt in
    Linux), Arm's as capacities.
    """
    devices = root / "sys/devices"
    strong = cpu_list(text(devices / "cpu_core/cpus")) & online
    weak = (cpu_list(text(devices / "cpu_atom/cpus")) | cpu_list(text(devices / "cpu_lowpower/cpus"))) & online
    if not (strong and weak):
        capacities = {one: number(devices / f"system/cpu/cpu{one}/cpu_capacity") or 0 for one in online}
        most = max(capacities.values(), default=0)
        weak = {one for one, capacity in capacities.items() if 0 < capacity < most * _LITTLE}
        strong = {one for one, capacity in capacities.items() if capacity >= most * _LITTLE}
    if not (strong and weak):
        return None, None
    return len(_cores(strong, root)), len(_cores(weak, root))


def _instructions(described: str) -> tuple[str, ...]:
    """Return our words for what the first processor can do."""
    match = re.search(r"^(flags|Features)\s*:\s*(.+)$", described, re.MULTILINE)
    if match is None:
        return ()
    known, has = (_X86 if match[1] == "flags" else _ARM), set(match[2].split())
    return tuple(dict.fromkeys(ours for theirs, ours in known.items() if theirs in has))
