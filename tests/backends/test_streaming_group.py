"""The promise, in small: a model larger than its memory runs as fast as the disk gives what has to come from it.

What a token has to stream is what it reads of the CPU's weights less what is held: that, and not what was read, is set
against the disk, so that reading too much counts as being slow. The disk's speed is measured in the same process. A
group of the kernel is the small machine; its disk is slow enough to decide, whatever else runs. Weights are random
numbers in F16. The same at full size, through the host process:
`python tests/benchmarks/bench_streaming.py`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests import groups
from tests.streaming_child import Run
from tests.streaming_models import write_model

pytestmark = pytest.mark.alone

MB = 1_000_000
LAYERS = 5
# Of a model that all but fits, the kernel's page cache finds out by itself what to keep, after some tokens or many.
LIMIT, RATE = 500 * MB, 150 * MB
GOAL = 0.9
TOKENS = 4
PLAIN = {"read_ahead": "off", "hold_gib": 0}
HELD = {"read_ahead": "off"}
BOTH: dict[str, object] = {}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("large")
    try:
        with groups.group(LIMIT, RATE, folder):
            pass
    except groups.NoGroup as reason:
        pytest.skip(str(reason))
    path = write_model(folder / "model.gguf", LAYERS)
    yield path
    path.unlink()


def run(model: Path, options: dict[str, object], rate: int = RATE, tokens: int = TOKENS) -> Run:
    """Run tokens in a process whose group has less memory than the model has bytes; skip where there is no group."""
    drop(model)
    fields = {"context": 256, "threads": 2, "gpu_layers": 0, "batch": 64, "ubatch": 64, **options}
    command = [sys.executable, "-m", "tests.streaming_child", str(model), str(tokens), json.dumps(fields)]
    try:
        with groups.group(LIMIT, rate, model) as group:
            env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
            with group.popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
                out, err = child.communicate(timeout=120)
    except groups.NoGroup as reason:
        pytest.skip(str(reason))
    assert child.returncode == 0, err
    return msgspec.json.decode(out.splitlines()[-1], type=Run)


def drop(model: Path) -> None:
    """Let no page of the file be charged to anybody before."""
    file = os.open(model, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def seconds(*runs: Run) -> float:
    """Return the median of a token, without each run's first one."""
    return statistics.median(token.seconds for one in runs for token in one.tokens[1:])


def read(one: Run) -> list[int]:
    """Return what each token but the first read."""
    return [token.read_bytes for token in one.tokens[1:]]


def faults(*runs: Run) -> float:
    return statistics.mean(token.page_faults for one in runs for token in one.tokens[1:])


def reached(one: Run) -> float:
    """Return which part of the promise's speed a run had. A limit lets the first moment of a measurement pass."""
    return one.streamed_bytes / min(one.disk_bytes_per_s, RATE) / seconds(one)


def swapped_out() -> int:
    """Return what the whole machine has written to swap, in pages."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("pswpout "):
            return int(line.split()[1])
    return 0


def test_it_runs_as_fast_as_the_disk_gives_what_must_come_from_it_and_writes_nothing(model: Path) -> None:
    before = swapped_out()
    both, plain = run(model, BOTH), run(model, PLAIN, tokens=2)
    assert plain.streamed_bytes > LIMIT
    assert both.held_bytes > 0.2 * model.stat().st_size
    assert reached(both) >= GOAL
    # What is held is not read, and nothing is read twice, but where the hold is fitted to what the kernel leaves it.
    assert statistics.median(read(both)) <= 1.05 * both.streamed_bytes
    assert statistics.mean(read(both)) <= 1.1 * both.streamed_bytes
    assert seconds(both) < seconds(plain)
    assert both.words[:2] == plain.words
    for one in (both, plain):
        assert (one.written_bytes, one.swapped_bytes) == (0, 0)
    assert swapped_out() == before
    # Loading tells how far it is, though the engine does not.
    assert len([part for part in both.fractions if 0 < part < 1]) >= 4


def test_reading_ahead_helps_on_a_disk_with_the_read_ahead_that_most_have(tmp_path: Path) -> None:
    try:
        with groups.slow_disk(tmp_path, LAYERS * 140 * MB + 60 * MB, read_ahead_kb=128) as folder:
            model = write_model(folder / "model.gguf", LAYERS)
            held, both, plain = (run(model, options, 1000 * MB, tokens=3) for options in (HELD, BOTH, PLAIN))
    except groups.NoGroup as reason:
        pytest.skip(str(reason))
    # How much faster that is depends on what else the processors do; how often the engine waits for a page does not.
    assert faults(held) > 100
    assert faults(both) < 0.25 * faults(held)
    assert seconds(both) < 0.8 * seconds(plain)
