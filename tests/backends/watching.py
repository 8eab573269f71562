"""Waiting for what a job tells."""

from __future__ import annotations

import time
from collections.abc import Callable

from backends.jobs import launch
from backends.jobs.job import JobView


def until(key: str, condition: Callable[[JobView], object], timeout_s: float = 15) -> JobView:
    """Wait until a job is as it should be, and return it."""
    deadline = time.monotonic() + timeout_s
    while (now := launch.view(key)) is None or not condition(now):
        assert time.monotonic() < deadline, now
        time.sleep(0.01)
    return now


def ended(key: str) -> JobView:
    """Wait until a job has ended, and return it."""
    *_, last = launch.watch(key, 0.02)
    return last
