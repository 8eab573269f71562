"""How far a job is in one line of `ps`: what it does, and no more than is known of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.jobs.job import JobSpec, JobView, Progress
from tui.commands.job_line import line

GB = 10**9


def view(kind: str, progress: Progress, *, stopping: bool = False) -> JobView:
    return JobView("key", Path("/x"), 7, JobSpec(kind, "/x/one", "One"), progress, progress.state, stopping)


@pytest.mark.parametrize(
    ("kind", "progress", "said"),
    [
        (
            "quantize",
            Progress("running", "quantizing", "blk.31.ffn_down 412 of 771", 27 * GB, 65 * GB, 1e8, 362.0),
            "Quantising One · 27.00 of 65.00 GB · 41 % · blk.31.ffn_down 412 of 771 · about 6 min left",
        ),
        ("quantize", Progress("running", "checking", "", 0, 65 * GB), "Quantising One · looking at the source"),
        (
            "quantize",
            Progress("running", "queued", "Another one goes first.", 0, 65 * GB),
            "Quantising One · waits for another one",
        ),
        (
            "quality",
            Progress("running", "comparing", "Comparing: chunk 12 of 58.", 20, 100, 1.0, 90.0),
            "Measuring One · 20 % · Comparing: chunk 12 of 58 · about 2 min left",
        ),
        ("quality", Progress("running", "looking"), "Measuring One · looking"),
        ("pull", Progress("running", "queued", "", 1 * GB, 4 * GB), "One · waits for another download"),
        (
            "pull",
            Progress("running", "fetching", "", 1 * GB, 4 * GB, 42e6, 71.0),
            "One · 1.00 of 4.00 GB · 25 % · 42 MB/s · 1 min 11 s left",
        ),
    ],
)
def test_each_kind_of_job_has_words_of_its_own(kind: str, progress: Progress, said: str) -> None:
    assert line(view(kind, progress)) == said


def test_who_was_asked_to_end_says_so() -> None:
    told = Progress("running", "quantizing", "blk.0.attn_q 3 of 9", 1, 4)
    assert line(view("quantize", told, stopping=True)) == "Quantising One · stopping"
