"""How long it takes to read the header of a 32B model with its whole vocabulary, beside its goal.

Run it with `make bench` or `python tests/benchmarks/bench_gguf.py [ROUNDS]`. A loop that only unpacks one length after
the other, for as many texts, says how fast this machine is.
"""

from __future__ import annotations

import statistics
import struct
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOAL_MS, GOAL_MB = 50.0, 64.0


def main(rounds: int) -> None:
    """Read the header `rounds` times; print medians, spreads, memory and goals."""
    from backends.gguf.files import shape_from
    from backends.gguf.source import FileBytes
    from tests.gguf_files import QWEN_32B, sparse_model

    with tempfile.TemporaryDirectory() as folder:
        path = sparse_model(Path(folder) / "model.gguf", QWEN_32B)

        def read() -> None:
            shape_from(path.name, lambda name: FileBytes(path.with_name(name)))

        texts = QWEN_32B.vocabulary + QWEN_32B.merges
        times, bare = _times(read, rounds), _times(lambda: _bare_loop(texts), rounds)
        tracemalloc.start()
        read()
        peak = tracemalloc.get_traced_memory()[1] / 1e6
    print(f"header of {QWEN_32B.name}: {QWEN_32B.vocabulary} tokens, {QWEN_32B.merges} merges")
    print(f"  read: {_spread(times)} (goal: at most {GOAL_MS:.0f} ms)")
    print(f"  a bare loop over {texts} lengths: {_spread(bare)}")
    print(f"  beside the bare loop: {statistics.median(times) / statistics.median(bare):.2f} times as long")
    print(f"  memory at its peak: {peak:.1f} MB (goal: at most {GOAL_MB:.0f} MB)")


def _bare_loop(count: int) -> None:
    unpack, data, at = struct.Struct("<Q").unpack_from, struct.pack("<Q", 0), 0
    for _ in range(count):
        at += unpack(data, at)[0]


def _times(act: Callable[[], None], rounds: int) -> list[float]:
    """Return the milliseconds of each of `rounds` calls, after one that is not counted."""
    act()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        times.append((time.perf_counter() - began) * 1000)
    return times


def _spread(times: list[float]) -> str:
    return f"{statistics.median(times):.1f} ms ({min(times):.1f} – {max(times):.1f})"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
