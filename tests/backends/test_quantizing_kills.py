"""A quantisation that is killed at any moment: no process stays, no target appears, and the next try begins cleanly."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from backends.jobs import launch
from backends.llama_cpp.quantizing.wanted import job_of
from tests.backends.quantizing_world import ALL_3, ALL_4, LONG, Quantizer, write_small
from tests.backends.watching import ended, until
from tests.conftest import processes_of

KILLS = 20


@pytest.fixture
def quantizer(tmp_path: Path, home: Path) -> Quantizer:
    quantizer = Quantizer(tmp_path)
    write_small(quantizer.source, LONG)
    return quantizer


def engine(home: Path) -> int | None:
    """Return the process that quantises, if there is one."""
    return next((pid for pid, command in processes_of(home).items() if "llama_cpp.quantizing" in command), None)


def gone(home: Path) -> bool:
    """Wait until no process is left, and say whether it came to that."""
    deadline = time.monotonic() + 5
    while processes_of(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.alone
def test_whenever_job_or_engine_is_killed_no_process_stays_and_no_target_appears(
    quantizer: Quantizer, home: Path
) -> None:
    random = Random(11)
    quantizer.quantize(mix=ALL_4, threads=1)
    whole = quantizer.target.read_bytes()
    quantizer.target.unlink()
    spec = job_of(quantizer.wanted(mix=ALL_4, threads=1))
    killed = 0
    while killed < KILLS:
        view = launch.start(spec)
        at_engine = killed % 2 == 1
        time.sleep(random.uniform(0.05, 1.2))
        victim = engine(home) if at_engine else view.pid
        if victim is None:
            launch.stop(view.key, force=True)
            continue
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        last = ended(view.key)
        assert gone(home)
        if last.state == "done":  # it was quicker
            assert quantizer.target.read_bytes() == whole
            quantizer.target.unlink()
            continue
        killed += 1
        assert not quantizer.target.exists()
        if at_engine:
            assert last.state == "failed"
            assert last.progress.error is not None
            assert last.progress.error.kind == "engine_died"
            assert quantizer.left == []
        else:
            assert last.state == "interrupted"
            assert set(quantizer.left) <= {"model.gguf.part"}
    assert ended(launch.start(spec).key).state == "done"
    assert quantizer.target.read_bytes() == whole
    assert quantizer.left == ["model.gguf"]


def test_a_job_that_is_killed_takes_the_engine_with_it(quantizer: Quantizer, home: Path) -> None:
    view = launch.start(job_of(quantizer.wanted(mix=ALL_3)))
    until(view.key, lambda now: now.progress.stage == "quantizing")
    assert engine(home) is not None
    assert view.pid is not None
    os.kill(view.pid, signal.SIGKILL)
    assert ended(view.key).state == "interrupted"
    assert gone(home)
    assert quantizer.left == ["model.gguf.part"]
    assert ended(launch.start(view.spec).key).state == "done"
    assert quantizer.left == ["model.gguf"]


def test_the_user_stops_it_and_nothing_is_left(quantizer: Quantizer, home: Path) -> None:
    view = launch.start(job_of(quantizer.wanted(mix=ALL_3)))
    until(view.key, lambda now: now.progress.stage == "quantizing")
    began = time.monotonic()
    assert launch.stop(view.key)
    assert time.monotonic() - began < 5
    assert ended(view.key).state == "stopped"
    assert gone(home)
    assert quantizer.left == []
