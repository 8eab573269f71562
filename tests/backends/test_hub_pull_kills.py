"""Fetching that is killed at any moment: the next try goes on, and nothing unfinished ever looks like a model."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from backends.hub.wanted import Pull
from tests.backends.pulling import PARTS, SPLIT, Puller, make_puller

MIB = 1024**2


@pytest.fixture
def puller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> Iterator[Puller]:
    yield from make_puller(monkeypatch, tmp_path)


_FORKS = """
import os, sys, msgspec
from pathlib import Path
from backends.base import Cancel
from backends.hub import connection, download, pull
from backends.jobs import files
from backends.jobs.job import Progress
from backends.jobs.report import Report
import httpx
folder, work = Path(sys.argv[1]), msgspec.json.decode(sys.argv[2])
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        files.replace(folder / files.PROGRESS, Progress())
        cancel = Cancel()
        with Report(folder, cancel) as report:
            pull.run(work, report, cancel)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def test_whenever_it_is_killed_it_goes_on_from_there_and_nothing_unfinished_looks_like_a_model(puller: Puller) -> None:
    """Thirty random kills, counted in bytes: none that reached the disk is asked for again."""
    random = Random(7)
    contents = {name: puller.publish(name, 6 * MIB) for name in PARTS}
    work = msgspec.json.encode(Pull(SPLIT, str(puller.folder), patience_s=5)).decode()
    kills = finished = 0
    puller.hub.bytes_per_s = 150_000_000
    idle = threading.active_count()
    with Forks(puller.told, work) as forks:
        while kills < 30 or not finished:
            before = here(puller.folder)
            puller.hub.parts.clear()
            killed = forks.one(random.uniform(0, 0.12) if kills < 30 else None)
            kills += killed
            until_left(idle)
            asked = sum(length for _, length in puller.hub.parts if length > 1)
            assert asked <= len(PARTS) * 6 * MIB - before
            assert before <= here(puller.folder)
            named = [name for name in puller.names if name.endswith(".gguf")]
            for name in named:  # whatever has its name is whole
                assert (puller.folder / name).read_bytes() == contents[name]
            if SPLIT.file in named:
                assert sorted(named) == sorted(PARTS)
            if not killed:
                finished += 1
                assert asked == len(PARTS) * 6 * MIB - before
                assert puller.names == sorted(PARTS)
                for name in PARTS:
                    (puller.folder / name).unlink()


def until_left(threads: int) -> None:
    """Wait until the server has noticed that nobody is there any more."""
    deadline = time.monotonic() + 10
    while threading.active_count() > threads:
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Forks:
    """A process that has imported everything, and does the same pull in a child of its own whenever it is told to."""

    def __init__(self, told: Path, work: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", _FORKS, str(told), work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()

    def one(self, kill_after_s: float | None) -> bool:
        """Pull, and kill it after a while; say whether that came before its end."""
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write("go\n")
        self._child.stdin.flush()
        pid = int(self._child.stdout.readline())
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status = int(self._child.stdout.readline())
        assert status in {0, signal.SIGKILL}
        return status == signal.SIGKILL


def here(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in {".part", ".gguf"})
