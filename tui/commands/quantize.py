"""`deepseek-tui quantize`: make a smaller model by a recipe, in the background; what comes of it is said before."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from backends.base import Cancel
from backends.errors import BackendError, Busy, ModelNotFound, Problem, to_info
from backends.events import LoadProgress
from backends.hardware.disk import disk_under
from backends.hub.wanted import STAYS_FREE_BYTES
from backends.jobs import launch
from backends.jobs.job import JobView
from backends.shown import printable, shown_path
from presets import writing
from presets.building import job_key
from presets.catalog import Catalog, load_catalog
from presets.drafting import draft_of_made, text_of
from presets.families import dimensions
from presets.outcome import Outcome, outcome_by_rules, outcome_of_file
from presets.reference import machine_names
from presets.schema import PresetEntry
from presets.sources import HuggingFace
from tui.commands import confirm, output, parser
from tui.commands.quantize_wanted import RUNS, Wanted, target_of, wanted
from tui.units import memory

if TYPE_CHECKING:
    from backends.llama_cpp.quantizing.preview import Preview
    from backends.llama_cpp.quantizing.wanted import Quantize
    from tui.commands.quantize_words import Needs, Words

_EPILOG = f"""\
examples:
  deepseek-tui quantize --recipes                        the recipes there are, your own among them
  deepseek-tui quantize 32b-mixed-ssd                    what a preset says of itself; it then uses the result
  deepseek-tui quantize 32b-mixed-ssd --dry-run          only say what comes of it, on this machine
  deepseek-tui quantize ./model-F16.gguf out.gguf --recipe mixed-4-3
  deepseek-tui quantize ./model-F16.gguf --recipe ./mine.toml --imatrix ./model.imatrix --preset mine
  deepseek-tui quantize hf:OWNER/REPO/FILE --recipe attention-4 --dry-run --machine rtx3060-8gb-16gb
  deepseek-tui quantize --stop out.gguf                  end it; nothing of it stays

SOURCE is best an F16 or BF16 file: whatever is quantised already loses a second time. It is never changed, and TARGET
appears when it is whole. A recipe of your own is a TOML file in the folder `recipes` of the config folder; also the
plain ones of llama.cpp, such as Q3_K_S, are recipes. Ctrl+C leaves it to itself; `deepseek-tui ps` shows how far it is.

machines: {", ".join(machine_names())}
exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped"""


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `quantize`."""
    subparser.epilog = _EPILOG
    source = subparser.add_argument(
        "source", nargs="?", metavar="SOURCE", help="a preset, a GGUF file, or hf:OWNER/REPO/FILE"
    )
    source.complete = parser.PRESET_OR_FILE_COMPLETION  # type: ignore[attr-defined]  # shtab reads it
    target = subparser.add_argument(
        "target", nargs="?", metavar="TARGET", help="the file to be made, by default one in our folder of models"
    )
    target.complete = parser.FILE_COMPLETION  # type: ignore[attr-defined]
    recipe = subparser.add_argument("--recipe", metavar="NAME|FILE", help="by default the preset's own")
    recipe.complete = parser.RECIPE_COMPLETION  # type: ignore[attr-defined]
    matrix = subparser.add_argument("--imatrix", metavar="FILE", help="an importance matrix of the same model")
    matrix.complete = parser.FILE_COMPLETION  # type: ignore[attr-defined]
    subparser.add_argument("--threads", type=_threads, metavar="N", default=0, help="by default all there are")
    subparser.add_argument(
        "--requantize", action="store_true", help="also if the source is quantised already, and loses once more"
    )
    what = subparser.add_mutually_exclusive_group()
    what.add_argument("--recipes", action="store_true", help="list the recipes")
    what.add_argument("--dry-run", action="store_true", help="only say what would come of it")
    what.add_argument("--detach", action="store_true", help="begin, and do not wait")
    what.add_argument("--stop", action="store_true", help="end what makes this TARGET, or this preset's model")
    preset = subparser.add_mutually_exclusive_group()
    preset.add_argument("--preset", metavar="NAME", help="what the preset is called that is written for the result")
    preset.add_argument("--no-preset", action="store_true", help="write none")
    subparser.add_argument("--ollama", action="store_true", help="import the result into Ollama")
    subparser.add_argument(
        "--force", action="store_true", help="replace a TARGET that is there, when the new one is whole"
    )
    subparser.add_argument("--machine", metavar="NAME|FILE", help="say what another machine would do with it")
    parser.add_no_measure(subparser)
    subparser.add_argument("--names", action="store_true", help=argparse.SUPPRESS)  # for completion
    confirm.add_yes(subparser, "ask nothing")
    parser.add_json(subparser)


def run(arguments: argparse.Namespace) -> int:
    """List recipes, stop, say what would come of it, or make it; return the exit status. Raises Problem."""
    if arguments.recipes:
        from tui.commands.quantize_recipes import listed

        return listed(as_json=arguments.json, names=arguments.names)
    if arguments.source is None:
        arguments.usage_error("say what to quantise: SOURCE, or a preset that says how it is made")
    if arguments.ollama and arguments.detach:
        arguments.usage_error("--ollama has to wait for the result; without it, Ollama gets it with its first use")
    from tui.commands.quantize_words import Words

    words = Words(as_json=arguments.json)
    if arguments.stop:
        return _stop(target_of(arguments), words)
    _check_matrix(arguments.imatrix)
    asked = wanted(arguments)
    view = launch.view(job_key(asked.target))
    if view is not None and view.running and not arguments.dry_run:
        _check_same(asked, view)
        words.attached(view)
        return _after(asked, view, arguments, words)
    if not arguments.dry_run and not arguments.force and asked.own and asked.target.exists():
        words.here(asked)
        return output.DONE
    found, looked = _said(asked, arguments, words)
    if arguments.dry_run:
        return output.DONE
    if looked is None:
        raise _not_here(asked)
    if not _agreed(asked, found, looked, arguments):
        output.warn("Nothing was begun.")
        return output.STOPPED
    view = _begin(asked, arguments, words)
    try:
        _write_preset(asked, found, arguments, words)
    except KeyboardInterrupt:  # at the question: it is under way already
        words.left(_again(arguments), asked.target)
        return output.STOPPED
    return _after(asked, view, arguments, words)


def _check_same(asked: Wanted, view: JobView) -> None:
    """Raise Busy where what is being made at the target is something else than what is asked for."""
    from backends.gguf.files import part_names
    from backends.llama_cpp.quantizing.wanted import Quantize

    try:
        made = msgspec.convert(view.spec.work, Quantize)
    except msgspec.ValidationError:  # begun by another version: nobody knows
        return
    path = asked.path.absolute() if asked.path is not None else None
    sources = [str(path.parent / name) for name in part_names(path.name)] if path is not None else [made.source]
    if made.mix.name != asked.mix.name or made.source not in sources:
        raise Busy(
            "Another model is being made there",
            f"{shown_path(asked.target)}: {printable(made.mix.name)} out of {shown_path(Path(made.source))}",
            "Name another target, or end that one with --stop.",
        )


def _check_matrix(text: str | None) -> None:
    """Raise Problem where the importance matrix that was named is not there."""
    if text is not None and not Path(text).expanduser().is_file():
        hint = "Publishers put them beside their files, as NAME.imatrix; without --imatrix it is made without one."
        raise Problem("There is no such importance matrix", printable(text, 400), hint)


def _said(asked: Wanted, arguments: argparse.Namespace, words: Words) -> tuple[Outcome, Preview | None]:
    """Say what comes of it and what a machine will do with that; return it, and what is in the way of a file here.

    Raises Problem where nothing can come of it.
    """
    from backends.llama_cpp.quantizing.preview import preview
    from tui.commands.machines import planned_machine, uses_cards
    from tui.commands.quantize_plan import rows

    here = arguments.machine is None
    machine = planned_machine(arguments.machine, load_catalog().entries, measure=not arguments.no_measure)
    looked: Preview | None = None
    importance = arguments.imatrix is not None
    if asked.path is None and not isinstance(asked.source, HuggingFace) and dimensions(asked.family) is None:
        raise _not_here(asked)
    words.asking("measuring how long it takes here")
    try:
        if asked.path is None:
            found = outcome_by_rules(asked.family, asked.mix, asked.quantization, importance=importance)
        else:
            found = outcome_of_file(asked.path, asked.mix, asked.family, importance=importance)
            looked = preview(_job(asked, arguments))
        needs = _needs(asked, found, looked, arguments.threads, importance=importance)
    finally:
        words.clear()
    planned = list(rows(found, asked.entry, machine, here=here, card_usable=uses_cards(machine, here=here)))
    words.plan(asked, found, needs, machine, planned)
    return found, looked


def _needs(asked: Wanted, found: Outcome, looked: Preview | None, threads: int, *, importance: bool) -> Needs:
    from backends.hardware.cpu_limits import usable_cpus
    from backends.llama_cpp.quantizing.unseen import estimate_unseen
    from tui.commands.quantize_words import Needs

    threads = threads or usable_cpus()
    folder, to_fetch = asked.target.parent, 0
    unweighed: tuple[str, ...] = ()
    opposed: tuple[BackendError, ...] = ()
    if looked is not None:
        told, room, free, unweighed = looked.estimate, looked.needed_bytes, looked.free_bytes, looked.unweighed
        opposed = looked.objections
    else:
        to_fetch = found.source_bytes if isinstance(asked.source, HuggingFace) else 0
        room, free = to_fetch + found.size_bytes + STAYS_FREE_BYTES, disk_under(folder).free_bytes
        told = estimate_unseen(found.choices, found.source_bytes, folder, threads, importance=importance)
    unread = told.seconds is not None and told.read_s is None
    return Needs(told.seconds, threads, room, free, to_fetch, told.problem, unread, unweighed, opposed)


def _not_here(asked: Wanted) -> Problem:
    """Return what is to be done first."""
    fetches = isinstance(asked.source, HuggingFace)
    again = "; then the same command again" if fetches else ""
    return ModelNotFound(
        f"{asked.title}: what it is made of is not here",
        printable(asked.text, 400) if fetches else asked.located.detail,
        f"{asked.located.hint}{again}",
    )


def _job(asked: Wanted, arguments: argparse.Namespace) -> Quantize:
    from backends.llama_cpp.quantizing.wanted import Quantize

    return Quantize(
        str(asked.path),
        str(asked.target),
        asked.mix,
        str(Path(arguments.imatrix).expanduser()) if arguments.imatrix else "",
        arguments.threads,
        arguments.requantize,
        arguments.force,
    )


def _agreed(asked: Wanted, found: Outcome, looked: Preview, arguments: argparse.Namespace) -> bool:
    """Say whether it is to be begun: asked where somebody can be. Raises Problem for what is in the way."""
    from backends.llama_cpp.quantizing.failures import AlreadyQuantized

    asks = confirm.somebody() and not arguments.yes and not arguments.json
    for objection in looked.objections:
        if not isinstance(objection, AlreadyQuantized) or not asks:
            raise objection
        arguments.requantize = _yes("The source is quantised already, and loses once more. Quantise it all the same?")
        if not arguments.requantize:
            return False
    return not asks or _yes(f"Make {shown_path(asked.target)} ({memory(found.size_bytes)})?")


def _yes(question: str) -> bool:
    return confirm.answer(f"{question} [y/N] ", "").lower() in {"y", "yes"}


def _begin(asked: Wanted, arguments: argparse.Namespace, words: Words) -> JobView:
    """Begin the job. Raises Problem."""
    from backends.llama_cpp.quantizing.wanted import job_of

    spec = job_of(_job(asked, arguments))
    try:
        view = launch.start(msgspec.structs.replace(spec, title=asked.title))
    except OSError as error:
        raise Problem("The state folder cannot be used", str(error), "`deepseek-tui doctor` looks at it.") from error
    words.begun(view)
    return view


def _write_preset(asked: Wanted, found: Outcome, arguments: argparse.Namespace, words: Words) -> None:
    """Write a preset for what is being made, unless one uses it already. What is in the way of that is only said."""
    if found.source is None or arguments.no_preset or (asked.own and arguments.preset is None):
        return
    catalog = load_catalog()
    user = _user(catalog, asked.target)
    if user is not None and arguments.preset in {None, user.name}:
        return
    drafted = draft_of_made(found.source, found.family, found.mix.name, asked.target, asked.text)
    name = arguments.preset or writing.free_name(drafted.name, {entry.name for entry in catalog.entries})
    if arguments.preset is None and confirm.somebody() and not arguments.yes and not arguments.json:
        name = confirm.answer(f"Name of the preset for it, - for none [{name}]:", name)
        if name == "-":
            return
    try:
        entry = writing.create(writing.check_name(name), text_of(msgspec.structs.replace(drafted, name=name)))
    except Problem as problem:
        words.note(f"No preset was written: {problem} {problem.hint}".rstrip())
    else:
        words.written(entry.name, entry.file)


def _user(catalog: Catalog, target: Path) -> PresetEntry | None:
    """Return a preset whose model is the target, whether that is here or not."""
    source = f"file:{target}"
    return next((one for one in catalog.entries if one.preset.backends.get(RUNS, {}).get("source") == source), None)


def _after(asked: Wanted, view: JobView, arguments: argparse.Namespace, words: Words) -> int:
    """Watch it, or leave it; return the exit status. Ctrl+C ends the watching alone."""
    again = _again(arguments)
    if arguments.detach:
        words.detached(again, asked.target)
        return output.DONE
    last: JobView | None = None
    try:
        for now in launch.watch(view.key):
            last = now
            if now.running:
                words.progress(now)
    except KeyboardInterrupt:
        words.left(again, asked.target)
        return output.STOPPED
    status = words.ended(view.spec.title, last)
    if status != output.DONE:
        _tell_of_preset(asked.target, words)
    if status == output.DONE and arguments.ollama:
        return _into_ollama(asked.target, words)
    return status


def _again(arguments: argparse.Namespace) -> Sequence[str]:
    """Return the arguments with which the same is watched."""
    named = [arguments.source, *([arguments.target] if arguments.target else [])]
    return [*named, *(["--recipe", arguments.recipe] if arguments.recipe else [])]


def _into_ollama(path: Path, words: Words) -> int:
    """Give the result to Ollama; return the exit status."""
    from backends.ollama.importing import bring_to_server

    cancel = Cancel()

    def tell(progress: LoadProgress) -> None:
        words.asking(progress.note)

    try:
        words.in_ollama(bring_to_server(path, tell, cancel))
    except KeyboardInterrupt:
        cancel.set()
        words.clear()
        return output.STOPPED
    except BackendError as error:
        words.failed(to_info(error))
        return output.FAILED
    return output.DONE


def _stop(target: Path, words: Words) -> int:
    key = job_key(target)
    view = launch.view(key)
    if view is None or not view.running:
        words.stopped(None, gone=True)
        return output.DONE
    gone = launch.stop(key, force=True)
    words.stopped(view, gone=gone)
    _tell_of_preset(target, words)
    return output.DONE if gone else output.FAILED


def _tell_of_preset(target: Path, words: Words) -> None:
    """Say that a preset was written beforehand for a model that has come to nothing."""
    user = _user(load_catalog(), target)
    if user is not None and not target.exists():
        words.waits(user.name)


def _threads(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 1024:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of threads from 1 to 1024")
