"""How long a plan takes: of every preset that comes with us, without the engine, and of the whole command.

Run it with `make bench` or `python tests/benchmarks/bench_plan.py [ROUNDS]`. Each round is a process of its own; the
plan is made for a described machine, so that no driver is counted.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

GOAL_S = 0.3
PLAN = """
import json, time
from presets.catalog import load_catalog
from presets.reference import machine_named
began = time.perf_counter()
from presets.plan import plan_preset
imported = time.perf_counter()
entries, machine = load_catalog().entries, machine_named("rtx3070-8gb-32gb")
ready = time.perf_counter()
plans = [plan_preset(entry, machine) for entry in entries]
first = time.perf_counter()
for entry in entries:
    plan_preset(entry, machine)
rest = time.perf_counter() - first
print(json.dumps([imported - began, first - ready, rest, sum(plan.fit is not None for plan in plans)]))
"""
COMMAND = ("-P", "-m", "tui", "plan", "--machine", "rtx3070-8gb-32gb", "--json")
EMPTY = ("-P", "-m", "tui", "--version")


def main(rounds: int) -> None:
    """Plan `rounds` times, the command beside one that does nothing; print medians, ranges and the goal."""
    found, commands, empties = [], [], []
    for _ in range(rounds):
        child = subprocess.run([sys.executable, "-P", "-c", PLAN], capture_output=True, text=True, check=True)
        found.append(json.loads(child.stdout))
        commands.append(_timed(COMMAND))
        empties.append(_timed(EMPTY))
    firsts = [first for _, first, *_ in found]
    print(f"importing what plans: {_spread([imported for imported, *_ in found])} ms")
    verdict = "met" if statistics.median(firsts) <= GOAL_S else "MISSED"
    goal = f"(goal: at most {GOAL_S * 1000:.0f} ms) {verdict}"
    print(f"all presets, {found[0][3]} of them planned: {_spread(firsts)} ms {goal}")
    print(f"all presets once more, as the screen does: {_spread([rest for _, _, rest, _ in found])} ms")
    print(f"the whole command: {_spread(commands)} ms; one that does nothing: {_spread(empties)} ms")


def _timed(arguments: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return time.perf_counter() - began


def _spread(seconds: list[float]) -> str:
    """Return median and range in milliseconds."""
    middle, least, most = statistics.median(seconds) * 1000, min(seconds) * 1000, max(seconds) * 1000
    return f"{middle:.1f} ({least:.1f}–{most:.1f})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
