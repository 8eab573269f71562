"""The machine's memory and the limits around a process, on folders like the kernel's and on the real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from backends.hardware.memory import Ram, process_rss, ram

GIB = 1 << 30


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = "MemTotal:       16777216 kB\nMemFree:   1 kB\nMemAvailable:    8388608 kB\n"


def test_memory_without_a_limit_is_the_machines(tmp_path: Path) -> None:
    assert ram(machine(tmp_path, {"proc/meminfo": MEMINFO})) == Ram(16 * GIB, 8 * GIB, None)


def test_the_smallest_limit_on_the_way_up_counts_in_version_2(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/user/app\n",
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/user/app/memory.max": "max\n",
            "sys/fs/cgroup/user/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/user/memory.current": f"{3 * GIB}\n",
            "sys/fs/cgroup/user/memory.stat": f"anon 5\ninactive_file {GIB}\n",
        },
    )
    assert ram(root) == Ram(16 * GIB, 2 * GIB, 4 * GIB)


def test_limits_of_version_1_in_a_container_are_found_at_the_mount(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "4:cpu:/x\n3:memory:/docker/abc\n0::/\n",
            "proc/self/mountinfo": (
                "30 23 0:27 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                "31 23 0:28 /docker/abc /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
            ),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 0\n",
        },
    )
    assert ram(root) == Ram(16 * GIB, GIB, 2 * GIB)


def test_the_largest_number_of_version_1_is_no_limit(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "3:memory:/\n",
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert ram(root).limit_bytes is None


def test_what_the_kernel_does_not_tell_is_unknown(tmp_path: Path) -> None:
    assert ram(tmp_path).available_bytes is None
    assert ram(machine(tmp_path, {"proc/meminfo": "nonsense\nMemTotal: x kB\n"})).available_bytes is None


def test_this_process_has_memory_and_one_that_ended_has_none() -> None:
    own = process_rss(os.getpid())
    assert own is not None
    assert 1_000_000 < own < 10 * GIB
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert process_rss(child.pid) is None


def test_the_memory_of_this_machine_makes_sense() -> None:
    real = ram()
    assert real.total_bytes is not None
    assert real.available_bytes is not None
    assert 0 < real.available_bytes <= real.total_bytes
    assert real.limit_bytes is None or real.limit_bytes < real.total_bytes
