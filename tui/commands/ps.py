"""`deepseek-tui ps`: the models that are loaded and the jobs under way, each in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import time

import msgspec

from backends.events import Io, LoadProgress
from backends.hardware.memory import process_rss
from backends.host import launch
from backends.host.wire import Status
from backends.jobs import launch as jobs
from backends.jobs.job import JobView
from backends.titles import backend_title
from backends.version import build_id
from tui import units
from tui.chat.clean import clean_line
from tui.commands import job_line, output, parser, table

_TOLD_S = 24 * 3600.0
"""So long a job that nobody watched is told to have failed."""
_EPILOG = "`deepseek-tui stop` ends idle models, `deepseek-tui stop KEY` a download or any other job."


class HostRow(msgspec.Struct, frozen=True):
    """One host. Everything but `key`, `pid` and `rss_bytes` is None where it does not answer.

    `answer` is the id of the answer being generated, `waiting` are those in line; `ends_in_s` is None while it is used.
    `io` is what the answer that runs, or else the last one, made the process read and write.
    """

    key: str
    pid: int | None
    rss_bytes: int | None
    responding: bool
    title: str | None = None
    backend: str | None = None
    model: str | None = None
    build: str | None = None
    current_build: bool | None = None
    phase: str | None = None
    load: LoadProgress | None = None
    device: str | None = None
    context: int | None = None
    gpu_layers: int | None = None
    layers: int | None = None
    notes: tuple[str, ...] | None = None
    answer: str | None = None
    waiting: tuple[str, ...] | None = None
    clients: int | None = None
    idle_s: float | None = None
    ends_in_s: float | None = None
    io: Io | None = None


class JobRow(msgspec.Struct, frozen=True):
    """One job that is under way. None means unknown; `stage` is a word of its kind, `target` what it makes."""

    key: str
    pid: int | None
    rss_bytes: int | None
    kind: str
    title: str
    target: str
    stage: str
    note: str
    stopping: bool
    done_bytes: int
    total_bytes: int | None
    bytes_per_s: float | None
    left_s: float | None


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ps`."""
    subparser.epilog = _EPILOG
    parser.add_json(subparser)


def run(arguments: argparse.Namespace) -> int:
    """List the hosts and the jobs; return the exit status."""
    rows = [_row(view) for view in asyncio.run(launch.survey())]
    known = jobs.survey()
    under_way = [view for view in known if view.running]
    if arguments.json:
        output.say_json({"hosts": rows, "jobs": [_job_row(view) for view in under_way]})
        return output.DONE
    if not rows:
        output.say("No model is loaded.")
    else:
        head = ("KEY", "MODEL", "BACKEND", "DOING", "PID", "MEMORY", "IDLE", "ENDS IN")
        for line in table.table(head, [_cells(row) for row in rows], table.width()):
            output.say(line)
    for view in under_way:
        output.say(clean_line(f"{view.key}  {job_line.line(view)} · pid {view.pid or '–'}"))
    for view in known:
        if view.state in {"failed", "interrupted"} and time.time() - view.progress.updated_at < _TOLD_S:
            why = f": {view.progress.error.title}" if view.progress.error is not None else ""
            output.say(clean_line(f"{view.key}  {job_line.titled(view)} · {view.state}{why}"))
    return output.DONE


def _job_row(view: JobView) -> JobRow:
    progress = view.progress
    return JobRow(
        view.key,
        view.pid,
        process_rss(view.pid) if view.pid is not None else None,
        view.spec.kind,
        view.spec.title,
        view.spec.target,
        progress.stage,
        progress.note,
        view.stopping,
        progress.done_bytes,
        progress.total_bytes,
        progress.bytes_per_s,
        progress.left_s,
    )


def _row(view: launch.HostView) -> HostRow:
    rss = process_rss(view.pid) if view.pid is not None else None
    welcome, status = view.welcome, view.status
    if welcome is None or status is None:
        return HostRow(view.key, view.pid, rss, responding=False)
    loaded = status.loaded
    return HostRow(
        view.key,
        view.pid,
        rss,
        responding=True,
        title=welcome.title,
        backend=welcome.backend,
        model=welcome.model,
        build=welcome.build,
        current_build=welcome.build == build_id(),
        phase=status.phase,
        load=status.load,
        device=loaded.device if loaded else None,
        context=loaded.context if loaded else None,
        gpu_layers=loaded.gpu_layers if loaded else None,
        layers=loaded.layers if loaded else None,
        notes=loaded.notes if loaded else None,
        answer=status.answer,
        waiting=status.waiting,
        clients=status.clients,
        idle_s=status.idle_s,
        ends_in_s=status.ends_in_s,
        io=status.io,
    )


def _cells(row: HostRow) -> tuple[str, ...]:
    pid, memory = str(row.pid or "–"), units.memory(row.rss_bytes)
    if not row.responding:
        return (row.key, "?", "?", "does not answer", pid, memory, "–", "–")
    ends = table.seconds(row.ends_in_s) if row.ends_in_s is not None else "in use"
    title = (row.title or "") + ("" if row.current_build else " (older build)")
    idle = table.seconds(row.idle_s)
    return (row.key, title, backend_title(row.backend or ""), doing(row), pid, memory, idle, ends)


def doing(row: HostRow | Status) -> str:
    """Say in a few words what a host does."""
    words = {"idle": "idle", "prefill": "reading the prompt", "decode": "answering"}
    text = words.get(row.phase or "", row.phase or "")
    if row.phase == "loading" and row.load is not None and row.load.fraction is not None:
        text += f" {row.load.fraction:.0%}"
    return text + (f", {len(row.waiting)} in line" if row.waiting else "")
