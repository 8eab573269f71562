"""A model larger than its memory, through the backend's host: how near it comes to what the disk allows.

Run it as root with `python tests/benchmarks/bench_streaming.py [LAYERS] [ROUNDS] [MB_PER_S]`; 0 MB/s is the disk as it
is. The model is made for it, 134 MB a layer. A memory group holds 2 GB of it and less; first the disk of the
temporary folder, then a loop device whose read-ahead is the 128 kB that most disks have. What a token must stream is
what it reads of the weights less what is held; the goal sets its time against the disk's speed in the same process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MB = 1_000_000
LIMIT, TOKENS, GOAL = 2_300 * MB, 5, 0.9
WAYS: dict[str, dict[str, object]] = {
    "the map alone": {"read_ahead": "off", "hold_gib": 0},
    "read ahead": {"hold_gib": 0},
    "held in part": {"read_ahead": "off"},
    "both": {},
}


def main(layers: int, rounds: int, rate: int) -> None:
    """Run all ways in turn on both disks; print medians, spreads and goals."""
    from tests import groups
    from tests.streaming_models import write_model

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = write_model(place / "model.gguf", layers)
        _compare(model, rounds, rate, "the disk as the kernel reads it")
        model.unlink()
        try:
            with groups.slow_disk(place, (layers + 1) * 140 * MB, 128) as slow:
                _compare(write_model(slow / "model.gguf", layers), rounds, rate, "a read-ahead of 128 kB")
        except groups.NoGroup as reason:
            print(f"no disk of its own: {reason}")


def _compare(model: Path, rounds: int, rate: int, title: str) -> None:
    size = model.stat().st_size
    print(f"{size / 1e9:.2f} GB in {LIMIT / 1e9:.1f} GB of memory, {title}, {rate or 'unlimited'} MB/s, {rounds} rounds")
    results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, options in WAYS.items():
            results[way].append(_run(model, options, rate))
    for way, runs in results.items():
        streamed = runs[0]["streamed_bytes"]
        parts = [run["streamed_bytes"] / run["disk_bytes_per_s"] / run["seconds"] for run in runs]
        print(
            f"  {way}: {_spread([run['seconds'] for run in runs])} s a token, must stream {streamed / 1e9:.2f} GB, "
            f"reads {_spread([run['read_bytes'] / 1e9 for run in runs])} GB with "
            f"{statistics.median(run['page_faults'] for run in runs):.0f} waits; loads in "
            f"{_spread([run['load_s'] for run in runs], 1)} s"
        )
        goal = f" (goal: {GOAL})" if way == "both" else ""
        print(f"    of what the disk allows: {_spread(parts)}{goal}", end="; ")
        print(f"written {max(run['written_bytes'] for run in runs):.0f}, swapped {max(run['swapped'] for run in runs):.0f}")


def _run(model: Path, options: dict[str, object], rate: int) -> dict[str, float]:
    from tests import groups

    with _dropped(model), groups.group(LIMIT, rate * MB or None, model) as group, tempfile.TemporaryDirectory() as home:
        command = [sys.executable, __file__, "--child", str(model), json.dumps(options)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "DEEPSEEK_TUI_HOME": home}
        with group.popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
            out, _ = child.communicate()
        found: dict[str, float] = json.loads(out.splitlines()[-1])
        return found


@contextlib.contextmanager
def _dropped(model: Path) -> Iterator[None]:
    """Let no page of the file be in memory before, charged to somebody else."""
    file = os.open(model, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)
    yield


async def _child(model: str, options: dict[str, object]) -> dict[str, float]:
    """Load the model in a host, ask it, and count what the host's process did, all inside the group."""
    from backends.base import ChatRequest, Message, Sampling
    from backends.events import Done
    from backends.hardware.read_speed import measure_read
    from backends.host.wire import HostSpec
    from backends.version import build_id
    from tui.chat import turn

    disk = measure_read(Path(model), seconds=1.5).bytes_per_s
    fields = {"context": 512, "threads": 2, "gpu_layers": 0, **options}
    client = await turn.obtain(HostSpec("llama_cpp", model, fields, "m", build_id(), 60.0), lambda _step: None)
    began = time.monotonic()
    loaded = await client.loaded()
    load_s, pid = time.monotonic() - began, client.welcome.pid
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    print(loaded.notes, file=sys.stderr)
    sampling = Sampling(temperature=0, max_tokens=TOKENS)
    done, first, last = None, None, None
    async for record in client.chat("0" * 24, ChatRequest((Message("user", "Hi"),), sampling), None):
        if isinstance(record.event, Done):
            done = record.event
        elif getattr(record.event, "tokens", 0):
            last = _counts(pid)
            first = first or last
    assert done is not None and first is not None and last is not None
    assert done.timings.decode_s is not None
    count = (done.usage.output_tokens or 0) - 1
    found = {
        "disk_bytes_per_s": float(disk or 0),
        "load_s": load_s,
        "seconds": done.timings.decode_s / count,
        "read_bytes": (last[0] - first[0]) / count,
        "page_faults": (last[2] - first[2]) / count,
        "written_bytes": float(last[1]),
        "swapped": float(_swapped(pid)),
        "streamed_bytes": _streamed(" ".join(loaded.notes)),
    }
    await client.shutdown(force=True)
    await client.close()
    return found
