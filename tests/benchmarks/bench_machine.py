"""How long a look at this machine takes, the first one in a process and the next ones.

Run it with `make bench` or `python tests/benchmarks/bench_machine.py [ROUNDS]`. The first look of all may start the
graphics driver, which is not counted in the goal; each round is a process of its own.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

GOAL_S = 0.2
LOOK = """
import json, time
from backends import paths
began = time.perf_counter()
from backends.hardware.machine import snapshot
imported = time.perf_counter()
found = snapshot(paths.data())
first = time.perf_counter()
for _ in range(10):
    snapshot(paths.data())
rest = (time.perf_counter() - first) / 10
print(json.dumps([imported - began, first - imported, rest, len(found.gpus), found.disk.kind]))
"""


def main(rounds: int) -> None:
    """Look once to start the driver, then `rounds` times; print medians, ranges and the goal."""
    _look()
    found = [_look() for _ in range(rounds)]
    firsts = [first for _, first, *_ in found]
    cards, disk = found[0][3:]
    print(f"this machine: {cards} graphics cards, disk {disk}")
    print(f"importing what looks: {_spread([imported for imported, *_ in found])} ms")
    verdict = "met" if statistics.median(firsts) <= GOAL_S else "MISSED"
    print(f"first look of a process: {_spread(firsts)} ms (goal: at most {GOAL_S * 1000:.0f} ms) {verdict}")
    print(f"each further look: {_spread([rest for _, _, rest, *_ in found])} ms")


def _look() -> tuple[float, float, float, int, str]:
    child = subprocess.run([sys.executable, "-P", "-c", LOOK], capture_output=True, text=True, check=True)
    imported, first, rest, cards, disk = json.loads(child.stdout)
    return imported, first, rest, cards, disk


def _spread(seconds: list[float]) -> str:
    """Return median and range in milliseconds."""
    middle, least, most = statistics.median(seconds) * 1000, min(seconds) * 1000, max(seconds) * 1000
    return f"{middle:.1f} ({least:.1f}–{most:.1f})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
