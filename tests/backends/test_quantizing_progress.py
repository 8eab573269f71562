"""How far a quantisation is: never backwards, the whole at the end, and the time that is left by what it costs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Cancel
from backends.gguf.mixes import Choice
from backends.jobs import files
from backends.jobs.job import Progress as Told
from backends.jobs.report import Report
from backends.llama_cpp.quantizing.progress import Progress

sizes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=20)


def choices(made: list[tuple[int, int]]) -> list[Choice]:
    return [Choice(f"t{number}.weight", "f16", "q4_K", "q4_K", "base", *one) for number, one in enumerate(made)]


@given(sizes, st.integers(0, 1000), st.data())
def test_it_goes_forward_and_ends_with_everything(
    made: list[tuple[int, int]], header: int, data: st.DataObject
) -> None:
    some = choices(made)
    costs = {one.name: float(one.before_bytes) for one in some}
    progress = Progress([one.name for one in some], some, header, costs)
    last, share, part = 0, 0.0, 0
    for place in range(len(some)):
        progress.begin(place)
        for _ in range(3):
            part += data.draw(st.integers(0, 5000))
            assert last <= progress.done(part)
            last = progress.done(part)
            now = progress.share(part)
            assert now is None or share <= now <= 1
            share = now or 0.0
    assert progress.done(10**9) == sum(one.before_bytes for one in some)
    assert (progress.share(10**9) or 1.0) == pytest.approx(1.0)
    assert progress.note == f"t{len(some) - 1} {len(some)} of {len(some)}"


def test_a_place_that_there_is_not_changes_nothing() -> None:
    some = choices([(100, 32), (100, 32)])
    progress = Progress([one.name for one in some], some, 0, {})
    progress.begin(1)
    for place in (-1, 2, 10**9):
        progress.begin(place)
    assert progress.done(32) == 100


def test_without_costs_nothing_is_said_of_time() -> None:
    some = choices([(100, 32)])
    assert Progress(["t0.weight"], some, 0, {}).share(16) is None


def test_what_is_left_follows_from_the_work_and_not_from_the_bytes(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 10 s a fifth of the bytes is done, but half of the work."""
    files.replace(tmp_path / files.PROGRESS, Told())
    report = Report(tmp_path, Cancel())
    report.total(1000)
    report.stage("quantizing")
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    report.share(0.0)
    assert report._measured().left_s is None
    now[0] += 10
    report.at(200)
    report.share(0.5)
    assert report._measured().left_s == pytest.approx(10)
    report.stage("finishing")
    assert report._measured().left_s is None
