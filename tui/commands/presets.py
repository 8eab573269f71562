"""`deepseek-tui presets`: what can be run here, everything about one preset, what is wrong with the files; own ones."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from backends.errors import Problem
from backends.quality import kept
from backends.quality.figures import Quality
from backends.shown import shown_path
from presets.building import building, takes
from presets.built import is_built
from presets.catalog import check_file, find, load_catalog
from presets.plan import Outlook, outlook
from presets.problems import PresetError
from presets.schema import PresetEntry, Published, options_for, registered_options, source_for
from presets.sources import Located, locate, parse
from tui import keys
from tui.commands import bench_quality_words, output, parser, presets_own, table
from tui.commands.elsewhere import Elsewhere, elsewhere, offer
from tui.keys import reading
from tui.plans import loss

_MODEL, _PUBLISHED = 3, 5
_EPILOG = """\
examples:
  deepseek-tui presets                       the table
  deepseek-tui presets show 8b-q4_k_m        everything about one, with the options in effect
  deepseek-tui presets check                 read all files and say what is wrong with them
  deepseek-tui presets check ./mine.toml     one file, wherever it lies
  deepseek-tui presets new ./model.gguf      write a preset for a model; hf:…, ollama:… and found ones too
  deepseek-tui presets use 8b-q4_k_m         let a preset use the same model where another program keeps it
  deepseek-tui presets set 8b context=16384 sampling.temperature=0.7
  deepseek-tui presets copy 8b-q4_k_m mine

Your own presets are TOML files in the folder `presets` of the config folder.
exit codes: 0 done, 1 there is a problem, 2 wrong usage"""


class PresetRow(msgspec.Struct, frozen=True):
    """One preset of the list. `state` is the outlook in words; `size_bytes` is None where unknown.

    `elsewhere` is looked for only where the model is not here.
    """

    name: str
    title: str
    slot: int | None
    key: str | None
    backend: str
    backends: tuple[str, ...]
    family: str
    quantization: str
    context: int | None
    ready: bool
    state: str
    hint: str
    size_bytes: int | None
    published: Published | None
    builtin: bool
    file: str
    notes: tuple[str, ...]
    elsewhere: Elsewhere | None = None
    build: BuildRow | None = None


class BuildRow(msgspec.Struct, frozen=True):
    """How a preset's model can be made here, and whether it was. Sizes are None where unknown."""

    recipe: str
    source: str
    target: str
    made: bool
    to_fetch_bytes: int | None
    result_bytes: int | None
    room_bytes: int | None
    takes: str


class ProblemRow(msgspec.Struct, frozen=True):
    """One fault of a preset file. `line` counts from 1, None where it cannot be told."""

    name: str
    what: str
    file: str | None
    line: int | None
    key: str
    detail: str
    hint: str


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `presets`."""
    subparser.epilog = _EPILOG
    parser.add_json(subparser)
    actions = subparser.add_subparsers(dest="action", metavar="ACTION")
    listing = actions.add_parser("list", help="all presets (the default)", allow_abbrev=False)
    listing.add_argument("--names", action="store_true", help="print only the names, one a line")
    showing = actions.add_parser("show", help="everything about one preset", allow_abbrev=False)
    showing.add_argument("--modelfile", action="store_true", help="print the Modelfile that imports it into Ollama")
    named = showing.add_argument("name", metavar="NAME")
    named.complete = parser.PRESET_COMPLETION  # type: ignore[attr-defined]  # shtab reads it
    checking = actions.add_parser("check", help="say what is wrong with the files", allow_abbrev=False)
    checking.add_argument("names", nargs="*", metavar="FILE|NAME", help="only these; none means all")
    for action in (listing, showing, checking):
        parser.add_json(action, argparse.SUPPRESS)
    presets_own.configure(actions)


def run(arguments: argparse.Namespace) -> int:
    """List, show or check, or change one; return the exit status. Raises Problem."""
    if arguments.action in presets_own.ACTIONS:
        return presets_own.run(arguments)
    reading.take_own()
    match arguments.action:
        case "show" if arguments.modelfile:
            return _modelfile(arguments.name)
        case "show":
            return _show(arguments.name, arguments.json)
        case "check":
            return _check(arguments.names, arguments.json)
    if getattr(arguments, "names", False):
        for entry in load_catalog().entries:
            output.say(entry.name)
        return output.DONE
    return _list(arguments.json)


def _list(as_json: bool) -> int:
    catalog = load_catalog()
    rows = _rows(catalog.entries)
    if as_json:
        output.say_json({"presets": rows, "problems": [_problem(problem) for problem in catalog.problems]})
        return output.DONE
    # In a narrow window `show` has the rest.
    head = ("KEY", "NAME", "TITLE", "MODEL", "STATE", "PUBLISHED")
    cells = [
        (r.key or "", r.name, r.title, f"{r.family} {r.quantization}", r.state, _published_text(r.published))
        for r in rows
    ]
    for line in table.table(head, cells, table.width(), spare=(_PUBLISHED, _MODEL)):
        output.say(line)
    for row in rows:
        for note in row.notes:
            output.say(f"note: {row.name}: {note}")
        if row.elsewhere is not None:
            output.say(offer(row.name, row.elsewhere))
    _say_problems(catalog.problems)
    return output.DONE


def _show(name: str, as_json: bool) -> int:
    entry = find(load_catalog(), name)
    (row,), options = _rows((entry,)), {name: _effective(entry, name) for name in entry.preset.backends}
    preset, found = entry.preset, _loss(entry)
    if as_json:
        shown = msgspec.to_builtins(row)
        shown |= {"loss": bench_quality_words.plain(found) if found is not None else None}
        shown |= {"description": preset.description, "model": preset.model, "sampling": preset.sampling}
        shown |= {"keep_alive_s": preset.keep_alive_s, "options": options}
        output.say_json(shown)
        return output.DONE
    model = preset.model
    facts = {
        "name": entry.name + ("" if entry.builtin else " (your own)"),
        "key": row.key or "none",
        "description": preset.description,
        "model": " · ".join(part for part in (model.family, model.quantization, model.licence) if part),
        "thoughts": model.reasoning,
        "context": f"{preset.context:,} tokens" if preset.context else "the model's",
        "sampling": ", ".join(f"{k} {v}" for k, v in _plain(preset.sampling).items() if v not in {None, ()}),
        "keep alive": table.seconds(preset.keep_alive_s) if preset.keep_alive_s is not None else "as the settings say",
        "published": _published_text(preset.published),
        "loss": f"{loss.measured(found)}, {loss.against(found)}" if found is not None else "",
        "state": row.state,
        "next step": row.hint,
        "or": f"{row.elsewhere.use}   ({row.elsewhere.place} has it)" if row.elsewhere else "",
        "or make it": _made_here(entry, row),
        "file": row.file,
    }
    output.say(preset.title)
    _say_facts({key: value for key, value in facts.items() if value})
    for backend, values in options.items():
        output.say(f"\n[{backend}]" + ("  (first choice)" if backend == preset.backend else ""))
        _say_facts({key: str(value) for key, value in values.items()})
    for note in row.notes:
        output.say(f"\nnote: {note}")
    return output.DONE


def _loss(entry: PresetEntry) -> Quality | None:
    """Return what was measured here of what quantising has cost the preset's file."""
    try:
        located = locate(parse(source_for(entry.preset, entry.preset.backend, name=entry.name)))
    except Problem:
        return None
    return kept.best(located.path) if located.present and located.path is not None else None


def _made_here(entry: PresetEntry, row: PresetRow) -> str:
    """Say how the model can be made on this machine, or that it was."""
    build = row.build
    if build is None:
        return ""
    if build.made:
        return f"made here by {build.recipe}"
    command = shlex.join(["deepseek-tui", "quantize", entry.name])
    return f"{command}   ({', '.join(part for part in (f'by {build.recipe}', build.takes) if part)})"


def _modelfile(name: str) -> int:
    from presets.modelfiles import modelfile_of

    output.say(modelfile_of(find(load_catalog(), name)).rstrip("\n"))
    return output.DONE


def _check(names: list[str], as_json: bool) -> int:
    good: list[PresetEntry] = []
    problems: list[PresetError] = []
    if names:
        for name in names:
            try:
                good.append(_checked(name))
            except PresetError as problem:
                problems.append(problem)
    else:
        catalog = load_catalog(options_type=registered_options)
        good, problems = list(catalog.entries), list(catalog.problems)
    if as_json:
        rows = [{"name": entry.name, "file": output.path_text(entry.file), "notes": entry.notes} for entry in good]
        output.say_json({"ok": not problems, "presets": rows, "problems": [_problem(p) for p in problems]})
    else:
        for entry in good:
            output.say(f"ok: {entry.name} ({shown_path(entry.file)})")
            for note in entry.notes:
                output.say(f"    note: {note}")
        _say_problems(problems)
    return output.FAILED if problems else output.DONE


def _checked(name: str) -> PresetEntry:
    """Check a file by its path, or a preset by its name. Raises PresetError."""
    if "/" in name or name.endswith(".toml"):
        return check_file(Path(name).expanduser())
    entry = find(load_catalog(), name)
    return check_file(entry.file)


def _rows(entries: Sequence[PresetEntry]) -> list[PresetRow]:
    """Return the rows; models that are not here are looked for where other programs keep theirs."""
    found = elsewhere(entries)
    return [msgspec.structs.replace(_row(entry), elsewhere=found.get(entry.name)) for entry in entries]


def _row(entry: PresetEntry) -> PresetRow:
    preset = entry.preset
    looks = _outlook(entry)
    return PresetRow(
        entry.name,
        preset.title,
        preset.slot,
        keys.slot(preset.slot) or None,
        preset.backend,
        tuple(preset.backends),
        preset.model.family,
        preset.model.quantization,
        preset.context,
        looks.ready,
        looks.line,
        looks.hint,
        looks.size_bytes,
        preset.published,
        entry.builtin,
        output.path_text(entry.file),
        entry.notes,
        build=_build(entry),
    )


def _build(entry: PresetEntry) -> BuildRow | None:
    found = building(entry)
    if found is None:
        return None
    return BuildRow(
        found.recipe,
        found.written,
        output.path_text(found.target),
        is_built(entry.preset),
        found.to_fetch,
        found.result_bytes,
        found.room_bytes,
        takes(found),
    )


def _outlook(entry: PresetEntry) -> Outlook:
    from backends import registry

    backend = entry.preset.backend
    try:
        located: Located = locate(parse(source_for(entry.preset, backend, name=entry.name)))
    except Problem as problem:
        return Outlook(problem.title, ready=False, hint=problem.hint)
    looks = outlook(entry, backend, located)
    if backend in registry.names():
        return looks
    hint = "The package that brings this backend has to be installed."
    return msgspec.structs.replace(looks, line=f"{backend} · not installed", ready=False, hint=hint)


def _effective(entry: PresetEntry, backend: str) -> dict[str, Any]:
    """Return the source and every option of a backend as it takes effect, or what is wrong with them."""
    try:
        return {"source": source_for(entry.preset, backend, name=entry.name)} | options_for(
            entry.preset, backend, name=entry.name
        )
    except Problem as problem:
        return {"problem": str(problem)}


def _published_text(published: Published | None) -> str:
    if published is None:
        return ""
    parts = []
    if published.tokens_per_second:
        low, high = published.tokens_per_second
        parts.append(f"{low:g}–{high:g} tok/s")
    if published.vram_gb:
        parts.append(f"{published.vram_gb:g} GB VRAM")
    if published.ram_gb:
        parts.append(f"{published.ram_gb:g} GB RAM")
    if published.ssd:
        parts.append("SSD")
    if published.usd_per_answer:
        parts.append(f"${published.usd_per_answer:.4f} an answer")
    return ", ".join(parts)


def _problem(problem: PresetError) -> ProblemRow:
    file = output.path_text(problem.file) if problem.file else None
    return ProblemRow(problem.name, problem.what, file, problem.line, problem.key, problem.detail, problem.hint)


def _say_problems(problems: list[PresetError] | tuple[PresetError, ...]) -> None:
    for problem in problems:
        output.say(f"problem: {problem.title}")
        for line in (problem.detail, problem.hint):
            if line:
                output.say(f"    {line}")


def _say_facts(facts: dict[str, str]) -> None:
    wide = max((table.cells(key) for key in facts), default=0)
    for key, value in facts.items():
        output.say(f"  {key:<{wide}}  {value}")


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain
