"""`deepseek-tui pull`: fetch models in the background, and show how far they are. Also ends what is under way."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from backends.errors import BadModelFile, BadOptions, ModelNotFound, Problem, ServerUnreachable, Unauthorized
from backends.hub.wanted import part_path
from backends.jobs import launch
from backends.shown import shown_path
from presets.catalog import find, load_catalog
from presets.found import find_models, match
from presets.pulling import by_ollama, job_for, job_key, place_of
from presets.schema import PresetEntry, source_for
from presets.sources import HuggingFace, Located, Ollama, Source, locate, parse
from tui.commands import output, parser
from tui.commands.pull_words import Words
from tui.settings import model_folders
from tui.units import memory

if TYPE_CHECKING:
    from backends.ollama.wanted import OllamaPull

_EPILOG = """\
examples:
  deepseek-tui pull 8b-q4_k_m             fetch what this preset runs, and watch it; Ctrl+C leaves it to itself
  deepseek-tui pull --all --detach        everything that is missing, in the background
  deepseek-tui pull --stop 8b-q4_k_m      end it; what is here stays, and the next pull goes on from there
  deepseek-tui pull hf:OWNER/REPO/FILE    a file of Hugging Face, all parts of it if it is split
  deepseek-tui pull hf:OWNER/REPO@BRANCH  a model folder (EXL2, GPTQ)
  deepseek-tui pull ollama:deepseek-r1:8b  a model of Ollama's library: its server fetches and keeps it

Downloads go on when the line to this machine breaks, and after a restart with the same command. They go one after the
other. HF_ENDPOINT names a mirror of Hugging Face, HF_TOKEN is for https://huggingface.co alone: a mirror gets the key
that was entered for it with `deepseek-tui origins add`. `deepseek-tui ps` lists what is under way.

exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped"""


class Item(msgspec.Struct, frozen=True):
    """One model to fetch. `name` is what the user may call it, `entry` is None where no preset was named.

    `source` is None for a model that is here, and would not be fetched.
    """

    name: str
    title: str
    source: HuggingFace | OllamaPull | None
    located: Located
    backend: str = ""
    entry: PresetEntry | None = None

    @property
    def key(self) -> str:
        return job_key(self.source) if self.source is not None else ""


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pull`."""
    subparser.epilog = _EPILOG
    named = subparser.add_argument("names", nargs="*", metavar="PRESET|SOURCE", help="whose model to fetch")
    named.complete = parser.PRESET_COMPLETION  # type: ignore[attr-defined]  # shtab reads it
    subparser.add_argument("--all", action="store_true", help="the models of all presets that are not here")
    subparser.add_argument(
        "-b", "--backend", metavar="BACKEND", default=argparse.SUPPRESS, help="for this one of the preset's backends"
    )
    how = subparser.add_mutually_exclusive_group()
    how.add_argument("--wait", action="store_true", help="watch until it is here (so it is without being said)")
    how.add_argument("--detach", action="store_true", help="begin, and do not wait")
    how.add_argument("--stop", action="store_true", help="end what is under way; what is here stays")
    how.add_argument(
        "--print-modelfile", action="store_true", help="fetch nothing: print the Modelfile that imports it into Ollama"
    )
    subparser.add_argument(
        "--force", action="store_true", help="also if the disk is too full, or another program has the same model"
    )
    parser.add_json(subparser)
    subparser.set_defaults(usage_error=subparser.error)


def run(arguments: argparse.Namespace) -> int:
    """Fetch, or stop; return the exit status. Raises Problem."""
    if bool(arguments.names) == arguments.all:
        arguments.usage_error("say which: PRESET or SOURCE, or --all")
    if arguments.print_modelfile:
        return _print_modelfiles(arguments.names)
    words = Words(as_json=arguments.json)
    items = list(_items(arguments))
    if arguments.stop:
        return max([_stop(item, words) for item in items], default=output.DONE)
    status, begun = output.DONE, []
    try:
        for item in items:
            try:
                if _begin(item, words, force=arguments.force):
                    begun.append(item)
            except Problem as problem:
                if len(items) == 1 and not arguments.json:
                    raise
                words.failed(item.name, item.key, problem)
                status = output.FAILED
    except KeyboardInterrupt:  # those that have begun go on
        words.left([item.name for item in begun])
        return output.STOPPED
    if arguments.detach:
        words.detached([item.name for item in begun])
        return status
    return max(status, _watch(begun, words))


def _print_modelfiles(names: list[str]) -> int:
    """Print for each preset what `ollama create` would take. Raises Problem."""
    from presets.modelfiles import modelfile_of

    catalog = load_catalog()
    for name in names:
        output.say(modelfile_of(find(catalog, name)).rstrip("\n"))
    return output.DONE


def _items(arguments: argparse.Namespace) -> Iterator[Item]:
    """Yield what is to be fetched, each model once. Raises Problem for what cannot be."""
    catalog = load_catalog()
    backend = getattr(arguments, "backend", None)
    seen: set[str] = set()
    if arguments.all:
        found = [item for entry in catalog.entries for item in _of_preset(entry, backend, strict=False)]
        found = [item for item in found if arguments.stop or not item.located.present or _runs(item)]
    else:
        found = [
            item
            for name in arguments.names
            for item in (
                _of_source(name)
                if name.startswith(("hf:", "ollama:"))
                else _of_preset(find(catalog, name), backend, strict=True)
            )
        ]
    for item in found:
        if not item.key or item.key not in seen:
            seen.add(item.key)
            yield item


def _of_source(text: str) -> list[Item]:
    source = parse(text)
    if isinstance(source, Ollama):
        return [Item(text, source.tag, by_ollama(source), locate(source))]
    if not isinstance(source, HuggingFace):
        return []
    title = (source.file.rstrip("/") or source.repo).rpartition("/")[2]
    return [Item(text, title, source, locate(source))]


def _of_preset(entry: PresetEntry, backend: str | None, *, strict: bool) -> list[Item]:
    """Return a preset's model. Where nothing can be fetched for it, `strict` raises Problem."""
    chosen = backend or entry.preset.backend
    try:
        source: Source = parse(source_for(entry.preset, chosen, name=entry.name))
    except Problem:
        if strict:
            raise
        return []
    located = locate(source)
    if isinstance(source, HuggingFace):
        return [Item(entry.name, entry.preset.title, source, located, chosen, entry)]
    if isinstance(source, Ollama):
        by_server = by_ollama(source, entry.preset.backends[chosen].get("host"))
        return [Item(entry.name, entry.preset.title, by_server, located, chosen, entry)]
    if not strict:
        return []
    if located.present:
        return [Item(entry.name, entry.preset.title, None, located, chosen, entry)]
    raise Problem(f"{entry.preset.title} is not fetched from Hugging Face", located.detail, located.hint)


def _runs(item: Item) -> bool:
    view = launch.view(item.key)
    return view is not None and view.running


def _begin(item: Item, words: Words, *, force: bool) -> bool:
    """Begin to fetch a model, or find that it is under way; say whether there is something to wait for."""
    view = launch.view(item.key)
    if view is not None and view.running:
        words.attached(item.name, view)
        return True
    if item.source is None or (item.located.present and item.located.path is not None):
        words.here(item.name, item.title, item.located)
        return False
    if not isinstance(item.source, HuggingFace):
        if _server_has(item.title, item.source, words):
            words.at_server(item.name, item.title, item.source)
            return False
        words.by_server(item.name, item.title, item.source)
    else:
        if not force:
            _check_elsewhere(item, item.source)
        size, place = _size(item.source, item.title, words), place_of(item.source)
        words.plan(item.name, item.title, item.backend, item.entry, item.source, place, size)
    spec = job_for(item.source, item.title, force=force)
    try:
        begun = launch.start(spec)
    except OSError as error:
        raise Problem("The state folder cannot be used", str(error), "`deepseek-tui doctor` looks at it.") from error
    words.begun(item.name, begun)
    return True


def _check_elsewhere(item: Item, source: HuggingFace) -> None:
    """Raise Problem where another program keeps the very same model on this machine."""
    if item.entry is None or item.backend != "llama_cpp":
        return
    other = match(item.entry, find_models(model_folders()).found)
    if other is not None and not _unfinished(source):
        raise Problem(
            f"{item.title}: the same model is on this machine already",
            f"{other.place} keeps it: {shown_path(other.path)} ({memory(other.size)}).",
            f"Use it as it is: deepseek-tui presets use {item.entry.name}   (or fetch a second copy: --force)",
        )


def _unfinished(source: HuggingFace) -> bool:
    """Say whether an earlier pull has begun it: who goes on has decided already."""
    return part_path(place_of(source)).exists()


def _server_has(title: str, pull: OllamaPull, words: Words) -> bool:
    """Ask an Ollama server whether it has a model. Raises Problem where it does not answer: how to start it."""
    from backends.ollama.pulling import has

    words.asking(title, f"asking Ollama at {pull.server}")
    try:
        return has(pull)
    finally:
        words.clear()


def _size(source: HuggingFace, title: str, words: Words) -> int | None:
    """Ask for the header of a model: its size, and what the plan is made of. None where that is not told.

    Raises Problem for what would not let it be fetched either.
    """
    if source.is_folder:
        return None
    from presets.shapes import fetch_shape

    words.asking(title)
    try:
        return fetch_shape(source).shape.file_bytes
    except (ModelNotFound, Unauthorized, ServerUnreachable, BadOptions, BadModelFile):
        raise
    except Problem as problem:
        words.note(f"{problem} {problem.hint}".rstrip())
        return None
    finally:
        words.clear()


def _watch(items: list[Item], words: Words) -> int:
    """Show how far they are until all have ended; return the exit status. Ctrl+C ends the showing alone."""
    left, status = {item.key: item for item in items}, output.DONE
    try:
        while left:
            views = {key: launch.view(key) for key in left}
            for key, view in views.items():
                if view is None or not view.running:
                    status = max(status, words.ended(left.pop(key).name, key, view))
            under_way = [(left[key].name, view) for key, view in views.items() if key in left and view is not None]
            if under_way:
                words.progress(under_way, len(items) - len(left))
                time.sleep(launch.POLL_S)
    except KeyboardInterrupt:
        words.left([item.name for item in left.values()])
        return output.STOPPED
    return status


def _stop(item: Item, words: Words) -> int:
    view = launch.view(item.key)
    if view is None or not view.running:
        words.not_running(item.name)
        return output.DONE
    gone = launch.stop(item.key, force=True)
    words.stopped(item.name, launch.view(item.key) or view, gone=gone)
    return output.DONE if gone else output.FAILED
