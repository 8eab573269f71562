"""The processor, on folders like the kernel's, on sysctl's answers and on the real one."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from backends.hardware import sysctl
from backends.hardware.cpu import Cpu, cpu, of_darwin
from backends.hardware.cpu_limits import usable_cores
from backends.hardware.kernel_files import cpu_list, number
from tests.backends.kernel_world import machine

INFO = "processor\t: {0}\nmodel name\t: Intel(R) Core(TM) i5-13400\nflags\t\t: fpu sse2 avx f16c fma avx2 avx_vnni\n"


def processor(root: Path, siblings: dict[int, str], more: dict[str, str] | None = None) -> Path:
    folder = "sys/devices/system/cpu"
    files = {f"{folder}/cpu{one}/topology/core_cpus_list": f"{listed}\n" for one, listed in siblings.items()}
    files[f"{folder}/online"] = ",".join(map(str, siblings)) + "\n"
    return machine(root, files | {"proc/cpuinfo": INFO.format(0)} | (more or {}))


def allow(patch: pytest.MonkeyPatch, *cpus: int) -> None:
    patch.setattr(os, "sched_getaffinity", lambda _pid: set(cpus), raising=False)


def test_threads_of_a_core_are_counted_apart_from_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 0, 1, 2, 3)
    root = processor(tmp_path, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"})
    assert cpu(root) == Cpu(
        "Intel(R) Core(TM) i5-13400",
        cores=2,
        threads=4,
        usable_cores=2,
        usable_threads=4,
        instructions=("avx", "avx2", "fma", "f16c", "avx-vnni"),
    )


def test_affinity_and_quota_leave_the_machines_cores_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, 0, 1, 2)
    siblings = {one: str(one) for one in range(8)}
    quota = {"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/cpu.max": "150000 100000\n"}
    found = cpu(processor(tmp_path, siblings, quota))
    assert (found.cores, found.threads, found.usable_cores, found.usable_threads, found.quota) == (8, 8, 2, 2, 1.5)


def test_intels_hybrids_tell_their_kinds_of_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, *range(8))
    siblings = {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3", 4: "4", 5: "5", 6: "6", 7: "7"}
    kinds = {"sys/devices/cpu_core/cpus": "0-3\n", "sys/devices/cpu_atom/cpus": "4-6\n"}
    kinds["sys/devices/cpu_lowpower/cpus"] = "7\n"
    found = cpu(processor(tmp_path, siblings, kinds))
    assert (found.cores, found.performance_cores, found.efficiency_cores) == (6, 2, 4)


def test_arms_capacities_tell_little_cores_from_middle_and_big_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, *range(4))
    siblings = {one: str(one) for one in range(4)}
    capacities = {0: 250, 1: 250, 2: 760, 3: 1024}
    files = {f"sys/devices/system/cpu/cpu{one}/cpu_capacity": f"{size}\n" for one, size in capacities.items()}
    files["proc/cpuinfo"] = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm sve\n"
    found = cpu(processor(tmp_path, siblings, files))
    assert (found.performance_cores, found.efficiency_cores) == (2, 2)
    assert found.instructions == ("neon", "dotprod", "i8mm", "sve")
    assert found.name == platform.machine()


def test_cores_that_are_all_alike_are_of_no_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 0, 1)
    files = {f"sys/devices/system/cpu/cpu{one}/cpu_capacity": "1024\n" for one in (0, 1)}
    found = cpu(processor(tmp_path, {0: "0", 1: "1"}, files))
    assert (found.performance_cores, found.efficiency_cores) == (None, None)


def test_servers_instructions_are_named(tmp_path: Path) -> None:
    flags = "flags : avx512f avx512_vnni avx512_bf16 amx_tile amx_int8\n"
    assert cpu(machine(tmp_path, {"proc/cpuinfo": flags})).instructions == (
        "avx512",
        "avx512-vnni",
        "avx512-bf16",
        "amx",
    )


def test_without_sysfs_the_cores_are_unknown_and_the_threads_are_counted(tmp_path: Path) -> None:
    found = cpu(machine(tmp_path / "some", {"proc/cpuinfo": INFO.format(0) + "\n" + INFO.format(1)}))
    assert (found.cores, found.threads) == (None, 2)
    nothing = cpu(tmp_path / "nothing")
    assert (nothing.cores, nothing.threads, nothing.quota, nothing.instructions) == (None, None, None, ())


def test_garbage_and_escape_sequences_do_no_harm(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/cpuinfo": "model name : \x1b[31mred\x07\nflags : \n",
            "sys/devices/system/cpu/online": "a-b,,-3,99999999999,7-2\n",
            "sys/devices/cpu_core/cpus": "0-99999\n",
            "proc/self/cgroup": "0:\n::::\nx\n",
        },
    )
    found = cpu(root)
    assert found.name == "[31mred"
    assert found.cores is None or found.cores >= 0


def test_the_kernels_lists_are_read() -> None:
    assert cpu_list("0-2,8\n") == {0, 1, 2, 8}
    assert cpu_list("") == set()
    assert max(cpu_list("0-99999")) <= 1 << 16


def test_a_number_that_is_none_is_unknown(tmp_path: Path) -> None:
    root = machine(tmp_path, {"a": "12\n", "b": "-1\n", "c": "max\n", "d": "9" * 30, "e": "²\n"})
    assert [number(root / name) for name in "abcdef"] == [12, None, None, None, None, None]


def test_a_mac_tells_by_sysctl() -> None:
    numbers = {
        "hw.physicalcpu": 10,
        "hw.logicalcpu": 10,
        "hw.nperflevels": 2,
        "hw.perflevel0.physicalcpu": 8,
        "hw.perflevel1.physicalcpu": 2,
        "hw.optional.neon": 1,
        "hw.optional.AdvSIMD": 1,
        "hw.optional.arm.FEAT_DotProd": 1,
        "hw.optional.arm.FEAT_I8MM": 0,
    }
    found = of_darwin(numbers.get, lambda _name: "Apple M1 Pro")
    assert found == Cpu("Apple M1 Pro", 10, 10, 10, 10, None, 8, 2, ("neon", "dotprod"))
    old = of_darwin({"hw.physicalcpu": 4, "hw.logicalcpu": 8, "hw.optional.avx2_0": 1}.get, lambda _name: "")
    assert (old.usable_cores, old.usable_threads, old.performance_cores) == (4, 8, None)
    assert old.name == platform.machine()


@pytest.mark.skipif(platform.system() == "Darwin", reason="there it answers")
def test_elsewhere_sysctl_knows_nothing() -> None:
    assert sysctl.number("hw.ncpu") is None
    assert sysctl.text("machdep.cpu.brand_string") == ""


def test_the_processor_of_this_machine_makes_sense() -> None:
    real = cpu()
    assert real.name
    assert real.threads is None or 1 <= real.threads <= 4096
    assert real.cores is None or real.threads is None or 1 <= real.cores <= real.threads
    assert real.usable_cores == usable_cores()
