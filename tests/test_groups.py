"""What limits a child is gone afterwards, the tests killed or not: no group, no disk, no process of theirs stays."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.groups import NoGroup, group, slow_disk

pytestmark = pytest.mark.alone
MB = 1_000_000
HOLD = """
import json, sys, time
from pathlib import Path
from tests.groups import NoGroup, group, slow_disk

try:
    with slow_disk(Path(sys.argv[1]), 50_000_000) as disk, group(100_000_000, 1_000_000, disk) as small:
        with small.popen(["sleep", "600"]) as child:
            print(json.dumps([str(disk), str(small.memory), str(small.disk), child.pid]), flush=True)
            time.sleep(600)
except NoGroup as reason:
    print(json.dumps(str(reason)), flush=True)
"""


def test_nothing_stays_of_tests_that_are_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        told = json.loads(tests.stdout.readline())
        tests.kill()
    if isinstance(told, str):
        pytest.skip(told)
    disk, memory, limits, child = told
    gone(lambda: not any(Path(one).exists() for one in (memory, limits, f"/proc/{child}")))
    gone(lambda: disk not in Path("/proc/self/mounts").read_text())
    gone(lambda: not (tmp_path / "disk.img").exists())
    assert str(tmp_path) not in subprocess.run(["losetup", "--all"], capture_output=True, text=True, check=True).stdout


def test_a_child_is_not_waited_for_where_a_test_fails(tmp_path: Path) -> None:
    began = time.monotonic()
    try:
        with group(100 * MB) as small, pytest.raises(ZeroDivisionError), small.popen(["sleep", "600"]):
            _ = 1 / 0
        with slow_disk(tmp_path, 50 * MB) as disk:
            assert disk.is_mount()
    except NoGroup as reason:
        pytest.skip(str(reason))
    assert time.monotonic() - began < 20
    assert not small.memory.exists()
    assert not disk.is_mount()


def gone(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)
