"""`deepseek-tui stop`: end loaded models, so that their memory is free; and jobs, such as downloads, if named."""

from __future__ import annotations

import argparse
import asyncio
import difflib
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from backends.errors import Problem
from backends.host import launch
from backends.jobs import launch as jobs
from backends.jobs.job import JobView
from presets.catalog import find, load_catalog
from presets.pulling import keys as job_keys
from tui.chat.target import resolve
from tui.commands import output, parser
from tui.commands.job_line import titled
from tui.commands.ps import doing

_LEAST_OF_A_KEY = 4
"""Fewer letters than these may be what somebody began to type of a preset's name."""
_EPILOG = """\
examples:
  deepseek-tui stop                  end every model that is idle
  deepseek-tui stop 8b-q4_k_m        this preset's, if it is idle
  deepseek-tui stop KEY              a model or a job, as `deepseek-tui ps` lists them; what a download has stays
  deepseek-tui stop --force          also those that are loading, answering or hanging; answers keep what was said

exit codes: 0 nothing of it is left, 1 something is, 2 wrong usage"""


class StopRow(msgspec.Struct, frozen=True):
    """What became of one host."""

    key: str
    pid: int | None
    title: str
    result: Literal["ended", "busy", "failed"]
    detail: str = ""


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `stop`."""
    subparser.epilog = _EPILOG
    parser.add_json(subparser)
    subparser.add_argument("--force", action="store_true", help="end busy ones too")
    named = subparser.add_argument("names", nargs="*", metavar="KEY|PRESET", help="only these; none means all")
    named.complete = parser.PRESET_COMPLETION  # type: ignore[attr-defined]  # shtab reads it


def run(arguments: argparse.Namespace) -> int:
    """End the hosts and say what was done; return the exit status. Raises Problem for an unknown name."""
    views, under_way = asyncio.run(launch.survey()), [view for view in jobs.survey() if view.running]
    called, wanted = _called(arguments.names, views, under_way)
    rows = asyncio.run(_stop(called if arguments.names else views, force=arguments.force))
    ended = [_end_job(view) for view in wanted]
    if arguments.json:
        output.say_json({"hosts": rows, "jobs": ended})
    elif not rows and not ended:
        output.say("Not loaded: nothing to end." if arguments.names else "No model is loaded.")
    else:
        for row in (*rows, *ended):
            result = {"ended": "ended", "busy": f"left alone: {row.detail}", "failed": f"NOT ended: {row.detail}"}
            output.say(f"{row.title} (pid {row.pid}): {result[row.result]}")
    return output.DONE if all(row.result == "ended" for row in (*rows, *ended)) else output.FAILED


async def _stop(views: Iterable[launch.HostView], *, force: bool) -> list[StopRow]:
    return list(await asyncio.gather(*(_end(view, force=force) for view in views)))


def _end_job(view: JobView) -> StopRow:
    row = StopRow(view.key, view.pid, titled(view), "ended")
    if jobs.stop(view.key, force=True):
        return row
    return msgspec.structs.replace(row, result="failed", detail="it did not end in time")


async def _end(view: launch.HostView, *, force: bool) -> StopRow:
    row = StopRow(view.key, view.pid, view.title, "ended")
    if view.busy and not force:
        what = doing(view.status) if view.status is not None else "it does not answer"
        return msgspec.structs.replace(row, result="busy", detail=f"{what}; --force ends it")
    if await launch.end(view, force=force):
        return row
    why = "it did not end in time" if force else "it took up work meanwhile; --force ends it"
    return msgspec.structs.replace(row, result="failed", detail=why)


def _called(
    names: list[str], views: list[launch.HostView], under_way: list[JobView]
) -> tuple[list[launch.HostView], list[JobView]]:
    """Return the hosts and the jobs that are named, each once. Raises Problem for an unknown name."""
    hosts: dict[str, launch.HostView] = {}
    found: dict[str, JobView] = {}
    for name in names:
        called = [view for view in views if _is(view, name)], [view for view in under_way if _is(view, name)]
        if not called[0] and not called[1]:
            keys = _keys(name, views)
            called = [view for view in views if view.key in keys], [view for view in under_way if view.key in keys]
        hosts |= {view.key: view for view in called[0]}
        found |= {view.key: view for view in called[1]}
    return list(hosts.values()), list(found.values())


def _is(view: launch.HostView | JobView, name: str) -> bool:
    """Say whether a name is a key, its beginning, or a process number."""
    if view.pid is not None and str(view.pid) == name:
        return True
    return len(name) >= _LEAST_OF_A_KEY and view.key.startswith(name)


def _keys(name: str, views: list[launch.HostView]) -> set[str]:
    """Return the keys of a preset's hosts and jobs. Raises Problem where there is no such preset."""
    try:
        return set(_keys_of_preset(name))
    except Problem as problem:
        titles = [view.title for view in views]
        near = difflib.get_close_matches(name, titles, 1)
        raise Problem(
            f"No loaded model and no preset is called {name!r}",
            f"Loaded: {', '.join(f'{view.title} ({view.key})' for view in views) or 'nothing'}.",
            f"Did you mean {near[0]!r}?" if near else problem.hint,
        ) from problem


def _keys_of_preset(name: str) -> Iterator[str]:
    """Yield the keys that a preset's hosts and jobs have, whichever of its backends. Raises PresetError."""
    entry = find(load_catalog(), name)
    yield from job_keys(entry)
    for backend in entry.preset.backends:
        try:
            yield launch.key_of(resolve(entry, backend).spec)
        except Problem:
            continue  # Not installed or not here, so it is not loaded either.
