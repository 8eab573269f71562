"""How soon a second `ask` on a warm model reads its prompt, beside starting Python with asyncio and msgspec alone.

Run it with `make bench` or `python tests/benchmarks/bench_ask.py [ROUNDS]`. Needs the starter model.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL_S = 0.3
ASK = ["-P", "-m", "tui", "ask", "-p", "starter", "--json", "--no-save", "Say hello."]
BARE = ["-P", "-c", 'import asyncio, msgspec; print(\'{"event": "prompt"}\')']


def main(rounds: int) -> None:
    """Ask once to load the model, then `rounds` times in turn with the bare start; print medians and the ratio."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"DEEPSEEK_TUI_HOME": home}
        cold, _ = first_event(ASK, environment)
        warm, bare, first_tokens = [], [], []
        for _ in range(rounds):
            bare.append(first_event(BARE, environment)[0])
            prompt_s, token_s = first_event(ASK, environment)
            warm.append(prompt_s)
            first_tokens.append(token_s)
        subprocess.run([sys.executable, "-P", "-m", "tui", "stop"], env=environment, check=False, capture_output=True)
    ratios = [one / other for one, other in zip(warm, bare, strict=True)]
    print(f"first ask, model loaded on the way: prompt read after {cold:.2f} s")
    print(f"ask on a warm model: prompt read after {spread(warm)} s (goal: at most {GOAL_S})")
    print(f"ask on a warm model: first token after {spread(first_tokens)} s")
    print(f"bare Python with asyncio and msgspec: {spread(bare)} s; ratio pair by pair {spread(ratios)}")


def first_event(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return seconds from the command's start to its first prompt event and to its first token."""
    started = time.perf_counter()
    seen: dict[str, float] = {}
    with subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, cwd=Path.home()
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            seen.setdefault(json.loads(line)["event"], time.perf_counter() - started)
    return seen["prompt"], seen.get("text", seen["prompt"])


def spread(values: list[float]) -> str:
    """Return median and range of some values."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
