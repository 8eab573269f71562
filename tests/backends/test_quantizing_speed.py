"""Quantising takes no more work than the engine's own tool does; `tests/benchmarks/bench_quantize.py` has the goal."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.gguf.mixes import Mix
from tests.benchmarks import bench_quantize
from tests.streaming_models import write_model


@pytest.mark.alone
def test_it_takes_no_more_work_than_the_engine_alone(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the seconds of processors, which others' work changes least; what begins and watches it is all there is."""
    source = write_model(tmp_path / "source.gguf", 2)
    monkeypatch.setattr(bench_quantize, "_tool", lambda: None)  # one in PATH is of another build
    found = bench_quantize.beside(source, Mix("plain", "", "Q3_K_S", ()), threads=2, rounds=3)
    assert found.same
    assert found.work >= 0.9
