"""The screen is light: beside an empty Textual app, started in turn with it."""

from __future__ import annotations

import importlib.util
import os
import statistics
from pathlib import Path

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "bench_startup.py"


def test_the_composer_takes_text_within_twice_the_time_of_an_empty_app_and_in_70_mb(home: Path) -> None:
    spec = importlib.util.spec_from_file_location("bench_startup", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    bench.furnish(home)
    environment = os.environ | {"COLORTERM": "truecolor"}
    bench.usable(bench.OURS, environment)
    pairs = [(bench.usable(bench.OURS, environment), bench.usable(bench.EMPTY, environment)) for _ in range(5)]
    ratio = statistics.median(ours[0] / empty[0] for ours, empty in pairs)
    assert ratio <= bench.GOAL_RATIO
    assert max(ours[1] for ours, _ in pairs) <= bench.GOAL_BYTES
