"""`deepseek-tui stop`: end loaded models, so that their memory is free."""

from __future__ import annotations

import argparse
import asyncio
import difflib
from collections.abc import Iterator
from typing import Literal

import msgspec

from backends.errors import Problem
from backends.host import launch
from presets.catalog import find, load_catalog
from tui.chat.target import resolve
from tui.commands import output, parser
from tui.commands.ps import doing

_EPILOG = """\
examples:
  deepseek-tui stop                  end every model that is idle
  deepseek-tui stop 8b-q4_k_m        this preset's, if it is idle
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
    rows = asyncio.run(_stop(arguments.names, force=arguments.force))
    if arguments.json:
        output.say_json({"hosts": rows})
    elif not rows:
        output.say("Not loaded: nothing to end." if arguments.names else "No model is loaded.")
    else:
        for row in rows:
            result = {"ended": "ended", "busy": f"left alone: {row.detail}", "failed": f"NOT ended: {row.detail}"}
            output.say(f"{row.title} (pid {row.pid}): {result[row.result]}")
    return output.DONE if all(row.result == "ended" for row in rows) else output.FAILED


async def _stop(names: list[str], *, force: bool) -> list[StopRow]:
    views = await launch.survey()
    chosen = {view.key: view for name in names for view in _called(name, views)} if names else {v.key: v for v in views}
    return list(await asyncio.gather(*(_end(view, force=force) for view in chosen.values())))


async def _end(view: launch.HostView, *, force: bool) -> StopRow:
    row = StopRow(view.key, view.pid, view.title, "ended")
    if view.busy and not force:
        what = doing(view.status) if view.status is not None else "it does not answer"
        return msgspec.structs.replace(row, result="busy", detail=f"{what}; --force ends it")
    if await launch.end(view, force=force):
        return row
    why = "it did not end in time" if force else "it took up work meanwhile; --force ends it"
    return msgspec.structs.replace(row, result="failed", detail=why)


def _called(name: str, views: list[launch.HostView]) -> list[launch.HostView]:
    """Return the hosts that a key (or its beginning), a process number or a preset names. Raises Problem."""
    found = [view for view in views if name and (view.key.startswith(name) or str(view.pid) == name)]
    if found:
        return found
    try:
        keys = set(_keys_of_preset(name))
    except Problem as problem:
        titles = [view.title for view in views]
        near = difflib.get_close_matches(name, titles, 1)
        raise Problem(
            f"No loaded model and no preset is called {name!r}",
            f"Loaded: {', '.join(f'{view.title} ({view.key})' for view in views) or 'nothing'}.",
            f"Did you mean {near[0]!r}?" if near else problem.hint,
        ) from problem
    return [view for view in views if view.key in keys]


def _keys_of_preset(name: str) -> Iterator[str]:
    """Yield the keys that a preset's hosts have, whichever of its backends they run. Raises PresetError."""
    entry = find(load_catalog(), name)
    for backend in entry.preset.backends:
        try:
            yield launch.key_of(resolve(entry, backend).spec)
        except Problem:
            continue  # Not installed or not here, so it is not loaded either.
