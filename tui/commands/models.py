"""`deepseek-tui models`: what models take on this machine, whose they are, what uses them; remove what nobody needs."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from backends.errors import Problem
from backends.hardware.disk import disk_under
from backends.hardware.patience import Question, Unanswered
from backends.host import launch
from backends.shown import printable, shown_path
from presets import housekeeping
from presets.catalog import load_catalog
from presets.found import Found, choose, find_models
from presets.sources import hub_cache, models
from tui.commands import confirm, output, parser, table
from tui.settings import model_folders
from tui.units import memory

_USERS = 3
_PATIENCE_S = 3.0
_EPILOG = """\
examples:
  deepseek-tui models                          what there is, whose it is, which presets use it
  deepseek-tui models remove 8b-q4_k_m         asks first; a name, the end of one, a path, or a preset
  deepseek-tui models remove --unfinished      what broken downloads have left

Looked into are our own folder, the Hugging Face cache, the folders of Ollama, LM Studio and llama.cpp, and those that
config.toml names: model_folders = ["/data/models"]. Removed is only what is ours or in the Hugging Face cache.
exit codes: 0 done, 1 failed, 2 wrong usage, 130 not wanted after all"""


class ModelRow(msgspec.Struct, frozen=True):
    """One model. `presets` use it, `loaded` says that an engine has it now, `removable` that `remove` removes it.

    `problem` says why a file is no model, `also` are other names of the very same file.
    """

    place: str
    name: str
    file: str
    size_bytes: int
    family: str
    quantization: str
    presets: tuple[str, ...]
    loaded: bool
    removable: bool
    problem: str
    also: tuple[str, ...]


class DiskRow(msgspec.Struct, frozen=True):
    """The disk of a place. None is what it does not tell."""

    folder: str
    free_bytes: int | None
    total_bytes: int | None


class LeftoverRow(msgspec.Struct, frozen=True):
    """What a download has left of a file that is not whole; `busy` says that one is at it."""

    place: str
    file: str
    size_bytes: int
    busy: bool


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `models`."""
    subparser.epilog = _EPILOG
    parser.add_json(subparser)
    actions = subparser.add_subparsers(dest="action", metavar="ACTION", parser_class=parser.Parser)
    listing = actions.add_parser("list", help="what there is (the default)", allow_abbrev=False)
    remove = actions.add_parser("remove", help="remove models, after asking", allow_abbrev=False)
    remove.add_argument("names", nargs="*", metavar="MODEL", help="a name, the end of one, a path, or a preset")
    remove.add_argument("--unfinished", action="store_true", help="what broken downloads have left")
    confirm.add_yes(remove, "do not ask")
    for action in (listing, remove):
        parser.add_json(action, argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """List or remove; return the exit status. Raises Problem."""
    return _remove(arguments) if arguments.action == "remove" else _list(as_json=arguments.json)


def _list(*, as_json: bool) -> int:
    search = find_models(model_folders())
    loaded, _ = _loaded()
    used = housekeeping.users(load_catalog().entries, search.found)
    rows = [_row(one, used, loaded) for one in search.found]
    left = housekeeping.leftovers()
    unused = housekeeping.unused_by_ollama()
    disks = _disks(search.found)
    total = sum(row.size_bytes for row in rows)
    if as_json:
        leftovers = [LeftoverRow(one.place, output.path_text(one.path), one.size, one.busy) for one in left]
        said = {"models": rows, "total_bytes": total, "unfinished": leftovers, "disks": disks}
        said |= {"unused_by_ollama_bytes": sum(unused.values()), "troubles": search.troubles}
        output.say_json(said)
        return output.DONE
    if rows:
        short = _short([row.name for row in rows])
        cells = [
            (row.place, name, memory(row.size_bytes), _users_text(row)) for row, name in zip(rows, short, strict=True)
        ]
        for line in table.table(("PLACE", "MODEL", "SIZE", "USED BY"), cells, table.width(), spare=(_USERS,)):
            output.say(line)
        output.say(f"{len(rows)} model{'' if len(rows) == 1 else 's'}, {memory(total)}")
    else:
        output.say("No model was found on this machine. `deepseek-tui presets` says what can be fetched.")
    if coming := [one.size for one in left if one.busy]:
        output.say(f"Being fetched: {memory(sum(coming))} so far. `deepseek-tui ps` shows it.")
    if broken := [one.size for one in left if not one.busy]:
        output.say(
            f"Unfinished downloads: {len(broken)}, {memory(sum(broken))}: deepseek-tui models remove --unfinished"
        )
    for folder, amount in unused.items():
        output.say(f"Of no model: {memory(amount)} in {shown_path(folder)}; Ollama removes that when it is started.")
    for disk in disks:
        if disk.free_bytes is not None:
            output.say(f"Free under {printable(disk.folder, 400)}: {memory(disk.free_bytes)}")
    for trouble in search.troubles:
        output.warn(trouble)
    return output.DONE


def _remove(arguments: argparse.Namespace) -> int:
    if arguments.unfinished:
        if arguments.names:
            arguments.usage_error("--unfinished goes without names")
        return _discard(arguments)
    if not arguments.names:
        arguments.usage_error("name a model: `deepseek-tui models` lists them")
    search = find_models(model_folders())
    used = housekeeping.users(load_catalog().entries, search.found)
    chosen = list({one.path: one for name in arguments.names for one in [_called(name, search.found, used)]}.values())
    for one in chosen:
        if problem := housekeeping.not_ours(one):
            raise problem
    _check_idle(chosen)
    for one in chosen:
        needing = [name for name, uses in used.items() if one in uses]
        output.warn(f"{one.place}: {one.name}, {memory(one.size)}{_needing(needing)}")
    size = memory(sum(one.size for one in chosen))
    if not confirm.sure(f"Remove {'it' if len(chosen) == 1 else f'these {len(chosen)} models'} ({size})?", arguments):
        output.warn("Nothing was removed.")
        return output.STOPPED
    _check_idle(chosen)  # somebody may have loaded one meanwhile
    rows = []
    for one in chosen:
        done = housekeeping.remove(one)
        files = [output.path_text(path) for path in done.paths]
        rows.append({"name": one.name, "files": files, "freed_bytes": done.freed_bytes})
        if not arguments.json:  # at once: the next one may fail
            output.say(f"Removed: {one.name}, {memory(done.freed_bytes)} freed.")
            if done.note:
                output.say(done.note)
    if arguments.json:
        output.say_json({"removed": rows})
    return output.DONE


def _discard(arguments: argparse.Namespace) -> int:
    left = [one for one in housekeeping.leftovers() if not one.busy]
    if not left:
        output.say_json({"removed": []}) if arguments.json else output.say("No broken download has left anything.")
        return output.DONE
    for one in left:
        output.warn(f"{one.place}: {shown_path(one.path)}, {memory(one.size)}")
    if not confirm.sure("Remove what these downloads have left? They would begin anew.", arguments):
        output.warn("Nothing was removed.")
        return output.STOPPED
    freed = [(one, housekeeping.discard(one)) for one in left]
    if arguments.json:
        output.say_json({"removed": [{"file": output.path_text(one.path), "freed_bytes": size} for one, size in freed]})
    else:
        output.say(f"Removed: {memory(sum(size for _, size in freed))} freed.")
    return output.DONE


def _called(name: str, found: Sequence[Found], used: dict[str, list[Found]]) -> Found:
    """Return the model that a person means: by its name, its path, or a preset. Raises Problem."""
    one = choose(name, found)
    if one is not None:
        return one
    uses = used.get(name, [])
    if len(uses) == 1:
        return uses[0]
    shown = printable(name)
    several = uses or [one for one in found if name and name.casefold() in one.name.casefold()]
    if several:
        raise Problem(f"{shown} could be several models", "", f"One of: {', '.join(one.name for one in several[:6])}.")
    hint = "`deepseek-tui models` lists what there is."
    if name in used:
        raise Problem(f"The preset {shown} has no model on this machine", "", hint)
    raise Problem(f"There is no model called {shown}", "", hint)


def _check_idle(chosen: Sequence[Found]) -> None:
    """Raise Problem if an engine has one of them loaded, may have it, or a job is writing there."""
    loaded, deaf = _loaded()
    for one in chosen:
        if _is_loaded(one, loaded):
            raise Problem(f"{one.name} is loaded", shown_path(one.path), "First: deepseek-tui stop")
        if one.place == "deepseek-tui" and (title := next(filter(None, map(housekeeping.fetching, one.paths)), "")):
            raise Problem(
                f"{title} is being fetched into that folder", shown_path(one.path), "`deepseek-tui ps` shows it."
            )
    if deaf:
        hint = "First: deepseek-tui stop --force"
        raise Problem("A loaded model does not answer, so it may be one of these", f"Its process is {deaf[0]}.", hint)


def _loaded() -> tuple[set[str], list[int | None]]:
    """Return what engines have loaded, as presets name it, and the processes of those that do not answer."""
    views = asyncio.run(launch.survey())
    return {view.welcome.model for view in views if view.welcome}, [view.pid for view in views if view.welcome is None]


def _is_loaded(one: Found, loaded: set[str]) -> bool:
    ids = housekeeping.file_ids(one)
    for model in loaded:
        if one.place == "Ollama" and model in {one.name, *one.also}:
            return True
        try:
            status = Path(model).stat() if model.startswith("/") else None
        except (OSError, ValueError):
            continue
        if status is not None and ((status.st_dev, status.st_ino) in ids or Path(model) in one.paths):
            return True
    return False


def _row(one: Found, used: dict[str, list[Found]], loaded: set[str]) -> ModelRow:
    return ModelRow(
        one.place,
        one.name,
        output.path_text(one.path),
        one.size,
        one.family,
        one.quantization,
        tuple(name for name, uses in used.items() if one in uses),
        _is_loaded(one, loaded),
        housekeeping.not_ours(one) is None,
        one.problem,
        one.also,
    )


def _short(names: Sequence[str]) -> list[str]:
    """Return names without what everybody knows, where that leaves each a name of its own: `remove` takes those too."""
    ends = [name.rpartition("/")[2].removesuffix(".gguf") or name for name in names]
    return [end if ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)]


def _users_text(row: ModelRow) -> str:
    if row.problem:
        return f"no model: {row.problem}"
    parts = [", ".join(row.presets) or "–", "loaded" if row.loaded else ""]
    return " · ".join(part for part in parts if part)


def _needing(presets: Sequence[str]) -> str:
    return f"; without it these presets cannot run: {', '.join(presets)}" if presets else "; no preset uses it"


def _disks(found: Sequence[Found]) -> list[DiskRow]:
    """Return the free space where models are kept, each disk once; nothing where a disk does not answer."""
    folders = [models(), hub_cache(), *(one.path.parent for one in found)]

    def look() -> list[DiskRow]:
        devices = {device: folder for folder in reversed(folders) if (device := _device(folder)) is not None}
        looks = [(folder, disk_under(folder)) for folder in reversed(devices.values())]
        return [DiskRow(output.path_text(folder), disk.free_bytes, disk.total_bytes) for folder, disk in looks]

    try:
        return Question("the free space of models", look).answer(_PATIENCE_S)
    except Unanswered:
        return []


def _device(folder: Path) -> int | None:
    """Return the number of the disk of a folder, or of the one in which it would be made."""
    for place in (folder, *folder.parents):
        try:
            return place.stat().st_dev
        except OSError:
            continue
    return None
