"""A model larger than its memory, through the backend's host: how near it comes to what the disk allows.

Run it as root with `python tests/benchmarks/bench_streaming.py [LAYERS] [ROUNDS] [MB_PER_S]`; 0 MB/s is the disk as it
is. The model is made for it, 134 MB a layer. A memory group has room for 0.7 of it, with all else that a process needs:
first on the disk of the temporary folder, then on a loop device whose read-ahead is the 128 kB that most disks have.
What a token must stream is what it reads of the weights less what is held; the goal sets its time against the disk's
speed in the same process.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MB = 1_000_000
SHARE, TOKENS, GOAL = 0.7, 5, 0.9
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
    size, speed = model.stat().st_size, f"{rate} MB/s" if rate else "no limit"
    print(f"{size / 1e9:.2f} GB in {SHARE * size / 1e9:.2f} GB of memory, {title}, {speed}, {rounds} rounds")
    results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, options in WAYS.items():
            results[way].append(_run(model, options, rate))
    for way, runs in results.items():
        parts = [run["streamed_bytes"] / run["disk_bytes_per_s"] / run["seconds"] for run in runs]
        goal = f" (goal: {GOAL})" if way == "both" else ""
        print(f"  {way}: {_spread(runs, 'seconds')} s a token, {_spread(runs, 'load_s')} s to load")
        print(
            f"    must read {_spread(runs, 'streamed_bytes', 1e9)} GB a token, reads {_spread(runs, 'read_bytes', 1e9)}"
        )
        print(f"    of what the disk allows: {statistics.median(parts):.2f} ({min(parts):.2f}–{max(parts):.2f}){goal}")
        print(
            f"    page faults {_spread(runs, 'page_faults')}, swapped {_spread(runs, 'swapped_bytes')} bytes, ", end=""
        )
        print(f"written beside our own files {_spread(runs, 'written_bytes')}")


def _spread(runs: list[dict[str, float]], name: str, unit: float = 1.0) -> str:
    """Return median and range of a figure."""
    values = [run[name] / unit for run in runs]
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def _run(model: Path, options: dict[str, object], rate: int) -> dict[str, float]:
    """Run one way in a group and a home of its own, with nothing of the file in memory before."""
    from tests import groups

    file = os.open(model, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)
    with (
        groups.group(round(SHARE * model.stat().st_size), rate * MB or None, model) as group,
        tempfile.TemporaryDirectory() as home,
    ):
        command = [sys.executable, __file__, "--child", str(model), json.dumps(options)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "DEEPSEEK_TUI_HOME": home}
        with group.popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
            out, _ = child.communicate()
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


async def _child(model: str, options: dict[str, object]) -> dict[str, float]:
    """Load the model in a host, ask it, and count what the host's process did, all inside the group."""
    from backends.base import ChatRequest, Message, Sampling
    from backends.events import Done, PromptProgress
    from backends.hardware.read_speed import measure_read
    from backends.host.wire import HostSpec
    from backends.version import build_id
    from tui.chat import turn

    disk = measure_read(Path(model), seconds=1.5).bytes_per_s
    fields = {"context": 512, "threads": 2, "gpu_layers": 0, **options}
    began = time.monotonic()
    client = await turn.obtain(HostSpec("llama_cpp", model, fields, "m", build_id(), 60.0), lambda _step: None)
    loaded = (await client.loaded()).loaded
    assert loaded is not None
    load_s, pid = time.monotonic() - began, client.welcome.pid
    assert _kernel(pid, "cgroup") == _kernel(os.getpid(), "cgroup"), "the host is not in the group"
    read, done = _counts(pid), None
    request = ChatRequest((Message("user", "Hi"),), Sampling(temperature=0, max_tokens=TOKENS))
    async for record in client.chat("0" * 24, request, None):
        match record.event:
            case PromptProgress(done=have, total=all_of_it) if have == all_of_it:
                read = _counts(pid)
            case Done() as end:
                done = end
    after = _counts(pid)
    assert done is not None
    tokens = (done.usage.output_tokens or 0) - 1
    assert tokens > 0
    assert done.timings.decode_s
    found = {
        "disk_bytes_per_s": float(disk or 0),
        "load_s": load_s,
        "seconds": done.timings.decode_s / tokens,
        # The last token is run too, so that the next question finds it.
        "read_bytes": (after[0] - read[0]) / (tokens + 1),
        "page_faults": (after[1] - read[1]) / (tokens + 1),
        "written_bytes": float(client.status.io.foreign_written_bytes or 0 if client.status.io else 0),
        "swapped_bytes": _swapped(pid),
        "streamed_bytes": float(loaded.streamed_bytes or 0),
    }
    await client.shutdown(force=True)
    await client.close()
    return found


def _kernel(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def _counts(pid: int) -> tuple[int, int]:
    """Return the bytes that a process has read from disks, and its waits for a page."""
    io = dict(line.split(": ") for line in _kernel(pid, "io").splitlines())
    return int(io["read_bytes"]), int(_kernel(pid, "stat").rsplit(")", 1)[1].split()[9])


def _swapped(pid: int) -> float:
    found = [line.split()[1] for line in _kernel(pid, "status").splitlines() if line.startswith("VmSwap:")]
    return 1024.0 * int(found[0]) if found else 0.0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(asyncio.run(_child(sys.argv[2], json.loads(sys.argv[3])))))
    else:
        given = [int(argument) for argument in sys.argv[1:4]]
        main(*given, *(25, 2, 500)[len(given) :])
