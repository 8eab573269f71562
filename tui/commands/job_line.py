"""How far a job is, in one line for a terminal: a fetch, a model that is made, a measurement."""

from __future__ import annotations

from collections.abc import Iterator

from backends.jobs.job import JobView
from presets.building import KIND as QUANTIZE
from presets.pulling import KINDS as FETCHES
from tui.units import duration, rate_text, roughly, share_text

QUALITY = "quality"
_STAGES = {
    "starting": "starting",
    "asking": "asking the server",
    "queued": "waits for another download",
    "waiting": "waiting",
    "fetching": "",
    "checking": "checking what is here",
    "verifying": "verifying its sha256",
    "finishing": "finishing",
    "done": "finishing",
}
_SIZED = {"fetching", "waiting", "checking", "verifying"}
_WORKS = {
    "starting": "starting",
    "queued": "waits for another one",
    "checking": "looking at the source",
    "finishing": "finishing",
    "done": "finishing",
}
"""Stages of jobs that fetch nothing, at which nothing is counted."""


def line(view: JobView) -> str:
    """Return how far a job is, in one line: what it does, how much of how much, how fast, how long it will take."""
    return " · ".join(part for part in (_fetch(view) if view.spec.kind in FETCHES else _work(view)) if part)


def _fetch(view: JobView) -> Iterator[str]:
    progress = view.progress
    yield view.spec.title
    yield "stopping" if view.stopping else _stage(view)
    if progress.total_bytes and progress.stage in _SIZED:
        total = progress.total_bytes
        yield f"{amount(progress.done_bytes, total)} · {share_text(progress.done_bytes, total)}"
    if progress.stage == "fetching" and progress.bytes_per_s is not None:
        yield rate_text(progress.bytes_per_s)
    if progress.stage == "fetching" and progress.left_s is not None:
        yield f"{duration(progress.left_s)} left"


def _work(view: JobView) -> Iterator[str]:
    progress = view.progress
    yield titled(view)
    if view.stopping or progress.stage in _WORKS:
        yield "stopping" if view.stopping else _WORKS[progress.stage]
        return
    total = progress.total_bytes
    if total and view.spec.kind == QUANTIZE:
        yield amount(progress.done_bytes, total)
    if total:
        yield share_text(progress.done_bytes, total)
    yield progress.note.removesuffix(".") or progress.stage
    if progress.left_s is not None:
        yield f"about {roughly(progress.left_s)} left"


def titled(view: JobView) -> str:
    """Return what a job is about, with what it does where that is no fetch."""
    verb = {QUANTIZE: "Quantising ", QUALITY: "Measuring "}.get(view.spec.kind, "")
    return f"{verb}{view.spec.title}"


def amount(done: int, total: int) -> str:
    """Return how much of how much, both in one unit."""
    if total >= 1e9:
        return f"{done / 1e9:.2f} of {total / 1e9:.2f} GB"
    return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"


def _stage(view: JobView) -> str:
    progress = view.progress
    if progress.stage == "waiting" and progress.note:
        return progress.note
    return _STAGES.get(progress.stage, progress.stage)
