"""A fast stream from a loopback server through our stack, and how soon its first text is there.

Run it with `make bench` or `python tests/benchmarks/bench_stream.py [ROUNDS]`. The stack is the backend in its host
process and a client of that, and then the whole screen in a pseudo-terminal; the server's own work is not counted. The
first text is waited for in turn with a plain HTTP client.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
from pathlib import Path

CHUNKS, RATE = 5000, 1000.0
GOAL_CORES, GOAL_S = 1.0, 0.020


async def main(rounds: int) -> None:
    """Stream `CHUNKS` chunks `rounds` times, then wait for first texts in turn; print medians, spreads and goals."""
    from tests import streaming

    with streaming.server(CHUNKS, RATE) as url:
        client = await streaming.connected(url)
        runs = [await streaming.ask(client, f"{number:024x}") for number in range(rounds)]
        await client.shutdown(force=True)
        await client.close()
    complete = sum(run.text == streaming.expected(CHUNKS) for run in runs)
    print(f"{CHUNKS:,} chunks at {RATE:,.0f}/s: {complete} of {rounds} arrived complete (goal: all)")
    print(f"  cores used, host and client: {spread([run.cores for run in runs])} (goal: at most {GOAL_CORES:g})")
    print(f"  CPU per chunk: host {spread([run.host_cpu_s / CHUNKS * 1e6 for run in runs], 0)} µs, ", end="")
    print(f"client {spread([run.client_cpu_s / CHUNKS * 1e6 for run in runs], 0)} µs")
    shown = []
    for _ in range(rounds):
        with streaming.server(CHUNKS, RATE) as url, tempfile.TemporaryDirectory() as home:
            os.environ["DEEPSEEK_TUI_HOME"] = home
            shown.append(await asyncio.to_thread(streaming.on_screen, url, CHUNKS))
    complete = sum(text == streaming.expected(CHUNKS) for text, _ in shown)
    print(f"the same on a screen of 120x34: {complete} of {rounds} arrived complete (goal: all)")
    print(f"  cores used, host and screen: {spread([cores for _, cores in shown])} (goal: at most {GOAL_CORES:g})")
    with streaming.server(3, RATE) as url:
        client = await streaming.connected(url)
        ours, direct = [], []
        for number in range(rounds * 10):
            direct.append(await asyncio.to_thread(streaming.direct_first_s, url))
            ours.append((await streaming.ask(client, f"{number:024x}")).first_s)
        await client.shutdown(force=True)
        await client.close()
    more = [(one - other) * 1e3 for one, other in zip(ours, direct, strict=True)]
    print(f"first text: direct HTTP client {spread([s * 1e3 for s in direct], 1)} ms, ", end="")
    print(f"through the stack {spread([s * 1e3 for s in ours], 1)} ms")
    print(f"  difference, pair by pair: {spread(more, 1)} ms (goal: at most {GOAL_S * 1e3:.0f})")


def spread(values: list[float], digits: int = 2) -> str:
    """Return median and range of some values."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    with tempfile.TemporaryDirectory() as home:
        os.environ["DEEPSEEK_TUI_HOME"] = home
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
