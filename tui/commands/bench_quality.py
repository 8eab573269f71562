"""`deepseek-tui bench --quality`: what quantising has cost a model, as a job that outlives the terminal."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from backends.errors import ModelNotFound, Problem
from backends.jobs import launch
from backends.jobs.job import JobSpec, JobView
from backends.quality.wanted import DISK_BYTES, KIND, Compare
from backends.shown import shown_path
from presets.catalog import find, load_catalog
from presets.schema import source_for
from presets.sources import locate, parse
from tui.commands import output
from tui.commands.bench_quality_words import Words

if TYPE_CHECKING:
    from backends.quality.figures import Quality

_BACKEND = "llama_cpp"
_SOURCES = ("hf:", "file:", "package:")
_ONLY_HERE = ("text", "chunks", "disk", "keep", "detach", "again")


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bench --quality`."""
    of = subparser.add_argument_group("quality")
    of.add_argument("--quality", metavar="FILE|PRESET", help="measure what quantising has cost this file")
    of.add_argument("--text", metavar="FILE", help="on this text (default: the beginning of Newton's Opticks)")
    of.add_argument("--chunks", type=_count, metavar="N", help="only so many chunks of 512 tokens (default: all)")
    of.add_argument(
        "--disk", type=_gigabytes, metavar="GB", help="what the base's probabilities may take at a time (default: 2)"
    )
    of.add_argument(
        "--keep", action="store_true", help="leave them on the disk for other files with the same base and text"
    )
    of.add_argument("--detach", action="store_true", help="begin, and do not wait")
    of.add_argument("--again", action="store_true", help="measure also what was measured before")


def refuse_without(arguments: argparse.Namespace) -> None:
    """End with wrong usage where an option that belongs to --quality stands without it."""
    for name in _ONLY_HERE:
        if getattr(arguments, name) not in {None, False}:
            arguments.usage_error(f"--{name} belongs to --quality")


def run(arguments: argparse.Namespace) -> int:
    """Measure, or show what was measured of the same files before; return the exit status. Raises Problem."""
    others = (arguments.named, arguments.preset, arguments.backend, arguments.depths, arguments.quick, arguments.evict)
    if any(others):
        arguments.usage_error("--quality takes a file and a base, and none of the other options")
    if not arguments.against:
        arguments.usage_error("--quality needs --against BASE: a less quantised file of the same model")
    wanted = Compare(
        model=str(_file(arguments.quality)),
        base=str(_file(arguments.against)),
        text=str(_check_name(_path(arguments.text))) if arguments.text else "",
        chunks=arguments.chunks or 0,
        disk_bytes=arguments.disk or DISK_BYTES,
        keep=arguments.keep,
    )
    words = Words(as_json=arguments.json)
    view = launch.view(_key(wanted))
    if view is None or not view.running:
        if not arguments.again and not wanted.keep and (known := _known(wanted)) is not None:
            words.result(known, before=True)
            return output.DONE
        view = _begin(wanted)
    else:
        _check_enough(view, wanted)
        words.attached(view)
    if arguments.detach:
        words.detached(view)
        return output.DONE
    return _watch(wanted, view.key, words)


def _check_enough(view: JobView, wanted: Compare) -> None:
    """Raise Problem where what is being measured of this pair is not what is wanted of it."""
    running = msgspec.convert(view.spec.work, Compare)
    if running.chunks in {0, wanted.chunks} and (running.keep or not wanted.keep):
        return
    much = f"{running.chunks:,} chunks" if running.chunks else "all of the text"
    raise Problem(
        "These two files are being measured already, but otherwise",
        f"It takes {much}, and {'keeps' if running.keep else 'does not keep'} the base's probabilities.",
        f"Wait for it, or end it: `deepseek-tui stop {view.key}`. What is measured stays.",
    )


def _watch(wanted: Compare, key: str, words: Words) -> int:
    """Show how far it is until it ends. Ctrl+C ends the showing alone."""
    last: JobView | None = None
    try:
        for last in launch.watch(key):
            if last.running:
                words.progress(last)
    except KeyboardInterrupt:
        words.left(key)
        return output.STOPPED
    finally:
        words.clear()
    if last is None or last.state != "done":
        return words.ended(last)
    found = _known(wanted)
    if found is None:
        raise Problem(
            "The measurement was made, but is not there",
            "A file changed after it, or the cache folder cannot be written.",
            "Measure once more: `deepseek-tui doctor` looks at the folders.",
        )
    words.result(found)
    if wanted.keep:
        words.kept(_rows(found))
    return output.DONE


def _begin(wanted: Compare) -> JobView:
    try:
        return launch.start(_job(wanted))
    except OSError as error:
        raise Problem("The state folder cannot be used", str(error), "`deepseek-tui doctor` looks at it.") from error


def _known(wanted: Compare) -> Quality | None:
    from backends.llama_cpp.quality.known import matching

    return matching(wanted)


def _rows(quality: Quality) -> Path | None:
    from backends.llama_cpp.quality.known import rows_of

    return rows_of(quality)


def _job(wanted: Compare) -> JobSpec:
    """Return the job. Of one pair of files and one text there is one, however much of it is wanted."""
    target = "\n".join((wanted.model, wanted.base, wanted.text))
    title = f"{Path(wanted.model).name} against {Path(wanted.base).name}"
    return JobSpec(KIND, target, title, msgspec.to_builtins(wanted))


def _key(wanted: Compare) -> str:
    from backends.jobs.job import key_of

    return key_of(_job(wanted))


def _file(name: str) -> Path:
    """Return the file that is meant by a path, a source or a preset. Raises Problem where it is not here."""
    path = _check_name(_path(name))
    if path.exists():
        return path
    if name.startswith(_SOURCES):
        located, what = locate(parse(name)), name
    elif "/" in name or name.endswith((".gguf", ".logits")):
        raise ModelNotFound("The model file is not there", shown_path(path), "Name a file that is, or a preset.")
    else:
        entry = find(load_catalog(), name)
        located = locate(parse(source_for(entry.preset, _BACKEND, name=entry.name)))
        what = entry.preset.title
    if not located.present or located.path is None or not located.path.is_file():
        raise Problem(f"{what} is not here as a GGUF file", located.detail, located.hint)
    return located.path.absolute()


def _check_name(path: Path) -> Path:
    """Return the same. Raises Problem for a name that a job cannot be told."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise Problem(
            "This file's name is not UTF-8", shown_path(path), "Rename it, or name a link to it that has another name."
        ) from None
    return path


def _path(name: str) -> Path:
    try:
        return Path(name).expanduser().absolute()
    except RuntimeError:  # no such user
        return Path(name).absolute()


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"not a number of chunks: {text!r}")
    return int(text)


def _gigabytes(text: str) -> int:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 < amount <= 1e6:
        raise argparse.ArgumentTypeError(f"not a number of GB: {text!r}")
    return round(amount * 1e9)
