"""The machine's memory and the limits around a process, on folders like the kernel's and on the real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends.hardware.memory import Ram, process_own, process_rss, ram, short_limit
from tests.groups import NoGroup, group

MIB, GIB = 1 << 20, 1 << 30


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


def test_the_limit_that_leaves_less_than_the_machine_has_is_what_makes_memory_short(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/\n",
        "proc/7/cgroup": "0::/user/app\n",
        "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/user/app/memory.max": f"{12 * GIB}\n",
        "sys/fs/cgroup/user/app/memory.current": f"{3 * GIB}\n",
        "sys/fs/cgroup/user/memory.max": f"{10 * GIB}\n",
        "sys/fs/cgroup/user/memory.current": f"{5 * GIB}\n",
    }
    root = machine(tmp_path / "small", files)
    assert short_limit(7, root) == 10 * GIB
    assert short_limit(8, root) is None
    wide = machine(
        tmp_path / "wide",
        {**files, "sys/fs/cgroup/user/memory.current": f"{GIB}\n", "sys/fs/cgroup/user/app/memory.current": f"{GIB}\n"},
    )
    assert short_limit(7, wide) is None
    assert short_limit(7, tmp_path / "nowhere") is None


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


V1 = {
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "3:memory:/\n",
    "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GIB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{4 * GIB}\n",
}
V2 = {
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "0::/app\n",
    "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/app/memory.max": f"{4 * GIB}\n",
    "sys/fs/cgroup/app/memory.current": f"{4 * GIB}\n",
}


def test_clean_pages_of_files_count_as_free_and_those_that_wait_to_be_written_do_not(tmp_path: Path) -> None:
    told = f"active_file {GIB}\ninactive_file {GIB}\nunevictable {GIB}\n"
    mine = "".join(f"total_{line}\n" for line in told.splitlines())
    mine += f"total_dirty {GIB // 4}\ntotal_writeback {GIB // 4}\n"
    first = {**V1, "sys/fs/cgroup/memory/memory.stat": f"active_file 5\ndirty 7\n{mine}"}
    second = {**V2, "sys/fs/cgroup/app/memory.stat": f"{told}file_dirty {GIB // 4}\nfile_writeback {GIB // 4}\n"}
    for number, files in enumerate((first, second)):
        assert ram(machine(tmp_path / f"root{number}", files)).available_bytes == 2 * GIB - GIB // 2


def test_strange_figures_of_a_group_free_nothing(tmp_path: Path) -> None:
    for number, told in enumerate(("active_file x\n", "file_dirty 99\n", "", "active_file -5\n")):
        files = {**V2, "sys/fs/cgroup/app/memory.stat": told}
        assert ram(machine(tmp_path / str(number), files)).available_bytes == 0


def test_what_a_process_has_locked_of_a_file_comes_free_with_it(tmp_path: Path) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    told = {"proc/7/statm": "9000 1000 600 1 0 1 0\n"}
    assert process_own(7, machine(tmp_path / "1", told)) == 400 * page
    locked = {**told, "proc/7/status": f"Name: x\nVmLck:\t {200 * page // 1024} kB\n"}
    assert process_own(7, machine(tmp_path / "2", locked)) == 600 * page
    everything = {**told, "proc/7/status": f"VmLck:\t {5000 * page // 1024} kB\n"}
    assert process_own(7, machine(tmp_path / "3", everything)) == 1000 * page


_LOOK = """
import os, sys
from backends.hardware.memory import ram
path = sys.argv[1]
before = ram().available_bytes
for _ in range(2):  # what is read twice is on the list of active pages
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
print(before, ram().available_bytes, ram().limit_bytes)
"""


@pytest.mark.alone
def test_a_file_that_was_read_takes_no_memory_away_in_a_group(tmp_path: Path) -> None:
    file = tmp_path / "read.bin"
    try:
        with group(500 * MIB) as limited:
            file.write_bytes(os.urandom(MIB) * 300)
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
            command = [sys.executable, "-c", _LOOK, str(file)]
            with limited.popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
                out, _ = child.communicate(timeout=60)
            held = limited.statistic("active_file") + limited.statistic("inactive_file")
            file.unlink()
    except NoGroup as reason:
        pytest.skip(str(reason))
    before, after, limit = map(int, out.split())
    assert limit == 500 * MIB
    assert held > 200 * MIB
    assert after == pytest.approx(before, abs=40 * MIB)
