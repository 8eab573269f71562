"""What `pull` says of a download: no more than is known, and how it ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.jobs.job import JobSpec, JobView, Progress
from tui.commands import output
from tui.commands.pull_words import Words, line


def view(progress: Progress) -> JobView:
    return JobView("key", Path("/x"), 7, JobSpec("pull", "/x/one.gguf", "One"), progress, progress.state)


def test_nearly_all_is_not_all_and_slow_is_not_standing_still() -> None:
    told = Progress("running", "fetching", "", 8_996_000_000, 9_000_000_000, 42_000.0, 95.0)
    assert line(view(told)) == "One · 9.00 of 9.00 GB · 99 % · 42 kB/s · 1 min 35 s left"


def test_what_is_not_known_is_left_out() -> None:
    assert line(view(Progress("running", "fetching", "", 4_000_000))) == "One"
    assert line(view(Progress("running", "asking"))) == "One · asking the server"


def test_a_download_that_nothing_is_known_of_any_more_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert Words(as_json=False).ended("one", "key", None) == output.FAILED
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == "deepseek-tui: one: Nothing is known of it any more"
    assert "deepseek-tui pull one" in said.err
    assert Words(as_json=False).ended("one", "key", view(Progress("done", result="/x/one.gguf"))) == output.DONE


def test_who_is_stopped_before_anything_is_known_is_not_told_that_nothing_is_here(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Words(as_json=False).stopped("one", view(Progress("stopped", "asking")), gone=True)
    Words(as_json=False).stopped("one", view(Progress("stopped", "queued", "", 3_100_000, 9_000_000)), gone=True)
    assert capsys.readouterr().out.splitlines() == [
        "One: stopped. What is here stays. Go on: deepseek-tui pull one",
        "One: stopped. 3.1 of 9.0 MB are here and stay. Go on: deepseek-tui pull one",
    ]
