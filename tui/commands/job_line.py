"""How far a job is, in one line for a terminal: a fetch, a model that is made, a measurement."""

from __future__ import annotations

from backends.jobs.job import JobView
from presets.building import KIND as QUANTIZE
from presets.pulling import KINDS as FETCHES
from tui.units import duration, rate_text, share_text

QUALITY = "quality"
_STAGES = {
    "starting": "starting",
    "asking": "asking the server",
    "queued": "waits for another download",
    "waiting": "waiting",
    "fetching": "",
    "quantizing": "",
    "measuring": "",
    "checking": "checking what is here",
    "verifying": "verifying its sha256",
    "finishing": "finishing",
    "done": "finishing",
}
_ELSE = {"queued": "waits for another one", "checking": "looking at the source", "verifying": "verifying"}
"""Stages that mean something else where nothing is fetched."""
_SIZED = {"fetching", "waiting", "checking", "verifying"}
_AT_WORK = {"fetching", "quantizing", "measuring"}


def line(view: JobView) -> str:
    """Return how far a job is, in one line: what it does, how much of how much, how fast, how long it will take."""
    progress, fetches = view.progress, view.spec.kind in FETCHES
    parts = [titled(view)]
    stage = "stopping" if view.stopping else _stage(view)
    if stage:
        parts.append(stage)
    total, at_work = progress.total_bytes, progress.stage in _AT_WORK
    if total and progress.stage in (_SIZED if fetches else _AT_WORK) and view.spec.kind != QUALITY:
        parts.append(f"{amount(progress.done_bytes, total)} · {share_text(progress.done_bytes, total)}")
    elif total and at_work:
        parts.append(share_text(progress.done_bytes, total))
    if at_work and not fetches and progress.note:
        parts.append(progress.note)
    if at_work and fetches and progress.bytes_per_s is not None:
        parts.append(rate_text(progress.bytes_per_s))
    if at_work and progress.left_s is not None:
        parts.append(f"{duration(progress.left_s)} left" if fetches else f"about {duration(progress.left_s)} left")
    return " · ".join(parts)


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
    if view.spec.kind not in FETCHES and progress.stage in _ELSE:
        return _ELSE[progress.stage]
    return _STAGES.get(progress.stage, progress.stage)
