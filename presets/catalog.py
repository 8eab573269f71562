"""All presets there are: the built-ins and the user's own. One that is broken never takes the others with it."""

from __future__ import annotations

import difflib
import stat
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from backends import paths
from backends.shown import printable
from presets.built import as_built
from presets.problems import PresetError
from presets.schema import OptionsType, Preset, PresetEntry, check_backends, decode, registered_options
from presets.toml_lines import key_lines, line_of, refusal

# Not through importlib.resources, which costs more at start-up than reading all the presets.
BUILTIN = Path(__file__).with_name("builtin")
MAX_BYTES = 256 * 1024
MAX_DEPTH = 16

_OWN = ("title", "slot", "published")
"""Keys that speak of one preset alone: another one that extends it does not inherit them."""
_BUILD, _SOURCE = "build", ("backends", "llama_cpp", "source")
"""Who names another file does not inherit how this one is made."""


class Catalog(msgspec.Struct, frozen=True):
    """`entries` by slot, then title; `problems` are the files that could not be used."""

    entries: tuple[PresetEntry, ...]
    problems: tuple[PresetError, ...]


class _File(msgspec.Struct, frozen=True):
    """One preset file as read."""

    name: str
    path: Path
    builtin: bool
    text: str
    table: dict[str, Any]


def load_catalog(user_dir: Path | None = None, options_type: OptionsType | None = None) -> Catalog:
    """Read all presets: the built-ins, and the user's in `user_dir` (default: the config folder).

    A user's preset hides the built-in of the same name. Never raises for what stands in a file: see `problems`.
    Backend options are checked in the user's presets; those of the built-ins are checked by the tests.
    """
    shelves, problems = _read_all(user_dir)
    entries = []
    for file in {**shelves.builtin, **shelves.own}.values():
        if file.name in shelves.broken:
            continue
        try:
            entries.append(_entry(file, shelves, options_type))
        except PresetError as problem:
            problems.append(problem)
    ordered = sorted(_one_per_slot(entries), key=_order)
    return Catalog(tuple(ordered), tuple(sorted(problems, key=lambda problem: problem.name)))


def check_file(path: Path, options_type: OptionsType | None = None, user_dir: Path | None = None) -> PresetEntry:
    """Read one preset file, wherever it lies, and check everything in it. Raises PresetError."""
    return _checked(_read(path, builtin=False), options_type, user_dir)


def check_text(path: Path, text: str, options_type: OptionsType | None = None) -> PresetEntry:
    """Check everything in a text that is to be the preset file `path`. Raises PresetError."""
    return _checked(_parsed(path, text, builtin=False), options_type, None)


def own_file(name: str) -> Path | None:
    """Return the user's file of a preset, broken or not; None if there is none."""
    path = paths.user_presets() / f"{name}.toml"
    try:
        return path if "/" not in name and path.is_file() else None
    except ValueError:
        return None


def read_text(path: Path) -> str:
    """Return what stands in a preset file. Raises PresetError."""
    return _text(path.stem, path)


def read_table(path: Path) -> tuple[str, dict[str, Any]]:
    """Return what stands in a TOML file that people write, as text and as a table. Raises PresetError."""
    file = _read(path, builtin=False)
    return file.text, file.table


def _checked(file: _File, options_type: OptionsType | None, user_dir: Path | None) -> PresetEntry:
    shelves, _ = _read_all(user_dir)
    own = {**shelves.own, file.name: file}
    shelves = _Shelves(own, shelves.builtin, shelves.broken - {file.name})
    return _entry(file, shelves, options_type or registered_options)


def find(catalog: Catalog, text: str) -> PresetEntry:
    """Return the preset called `text`, or the only one whose name begins so. Raises PresetError."""
    for entry in catalog.entries:
        if entry.name == text:
            return entry
    for problem in catalog.problems:
        if problem.name == text:
            raise problem
    starting = [entry for entry in catalog.entries if entry.name.casefold().startswith(text.casefold())]
    if len(starting) == 1 and text:
        return starting[0]
    names = [entry.name for entry in catalog.entries]
    if starting and text:
        raise PresetError(
            text, "several begin so", hint=f"Choose one of: {', '.join(entry.name for entry in starting)}."
        )
    near = difflib.get_close_matches(text, names, 3, 0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(names)}."
    raise PresetError(text, "there is none of this name", hint=hint)


class _Shelves(msgspec.Struct, frozen=True):
    """All preset files by name; `broken` are the names of those that could not even be read."""

    own: dict[str, _File]
    builtin: dict[str, _File]
    broken: set[str]

    def base(self, file: _File) -> _File:
        """Return what `file` extends. Raises PresetError."""
        name = file.table["extends"]
        if not isinstance(name, str):
            raise _placed(file, PresetError(file.name, "wrong type", path=("extends",), note="expected text in quotes"))
        # A user's preset may extend the built-in that it hides.
        found = self.builtin.get(name) if name == file.name else self.own.get(name) or self.builtin.get(name)
        broken = name in self.broken and name != file.name
        if found is not None and found is not file and not broken:
            return found
        if broken:
            note, hint = f"{printable(name)} is broken itself", "Mend that one first."
        elif name == file.name:
            note, hint = "it extends itself", "Name another preset."
        else:
            known = sorted({*self.own, *self.builtin} - {file.name})
            near = difflib.get_close_matches(name, known, 1, 0.5)
            note = f"there is no preset {printable(name)}"
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(map(printable, known))}."
        raise _placed(file, PresetError(file.name, "cannot extend", path=("extends",), note=note, hint=hint))


def _entry(file: _File, shelves: _Shelves, options_type: OptionsType | None) -> PresetEntry:
    table = _merged(file, shelves)
    try:
        preset = decode(file.name, table)
        notes = () if file.builtin else check_backends(file.name, preset, options_type)
    except PresetError as problem:
        if file.table.get("extends"):
            _check_base(file, shelves, options_type)
        raise _placed(file, problem) from problem
    return PresetEntry(file.name, as_built(preset), file.path, file.builtin, notes)


def _check_base(file: _File, shelves: _Shelves, options_type: OptionsType | None) -> None:
    """Blame a fault on what `file` extends if that is where it stands. Raises PresetError."""
    base = shelves.base(file)
    try:
        _entry(base, shelves, options_type)
    except PresetError as problem:
        raise _placed(
            file,
            PresetError(
                file.name,
                "cannot extend",
                path=("extends",),
                note=f"{printable(base.name)} is broken itself",
                hint=f"Mend that one first: {problem}",
            ),
        ) from problem


def _merged(file: _File, shelves: _Shelves) -> dict[str, Any]:
    """Return the table of `file` laid over those that it extends. Raises PresetError."""
    chain = [file]
    while chain[-1].table.get("extends", "") != "":
        base = shelves.base(chain[-1])
        if any(base is link for link in chain):
            way = " → ".join(printable(link.name) for link in [*chain, base])
            raise _placed(
                file,
                PresetError(
                    file.name,
                    "extends itself in a circle",
                    path=("extends",),
                    note=way,
                    hint="One of them must not extend another.",
                ),
            )
        chain.append(base)
    table: dict[str, Any] = {}
    below = chain[-1]
    for link in reversed(chain):
        if link.name != below.name:
            table = {key: value for key, value in table.items() if key not in _OWN}
        if _names_a_file(link.table):
            table.pop(_BUILD, None)
        table = _overlaid(table, link.table)
        below = link
    return {"title": file.name, **table} if len(chain) > 1 else table


def _names_a_file(table: dict[str, Any]) -> bool:
    value: Any = table
    for key in _SOURCE:
        value = value.get(key) if isinstance(value, dict) else None
    return value is not None


def _overlaid(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge tables; anything else in `over` replaces what is in `base`."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _overlaid(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _one_per_slot(entries: Iterable[PresetEntry]) -> Iterator[PresetEntry]:
    """Leave each slot to one preset: a user's before a built-in, then by name."""
    owners: dict[int, str] = {}
    for entry in sorted(entries, key=lambda entry: (entry.builtin, entry.name)):
        slot = entry.preset.slot
        if slot is None or owners.setdefault(slot, entry.name) == entry.name:
            yield entry
            continue
        yield msgspec.structs.replace(
            entry,
            preset=msgspec.structs.replace(entry.preset, slot=None),
            notes=(*entry.notes, f"Slot {slot} belongs to {printable(owners[slot])}, so this preset has no key."),
        )


def _order(entry: PresetEntry) -> tuple[int, str, str]:
    preset: Preset = entry.preset
    return (preset.slot or 99, preset.title.casefold(), entry.name)


def _read_all(user_dir: Path | None) -> tuple[_Shelves, list[PresetError]]:
    problems: list[PresetError] = []
    own = _read_folder(user_dir or paths.user_presets(), False, problems)
    builtin = _read_folder(BUILTIN, True, problems)
    return _Shelves(own, builtin, {problem.name for problem in problems}), problems


def _read_folder(folder: Path, builtin: bool, problems: list[PresetError]) -> dict[str, _File]:
    """Read the presets of a folder by name; what cannot be read goes to `problems`."""
    files = {}
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == ".toml" and not path.name.startswith("."))
    except FileNotFoundError:
        return {}
    except OSError as error:
        problems.append(
            PresetError(folder.name, "the folder cannot be read", file=folder, note=error.strerror or str(error))
        )
        return {}
    for path in found:
        try:
            files[path.stem] = _read(path, builtin)
        except PresetError as problem:
            problems.append(problem)
    return files


def _read(path: Path, builtin: bool) -> _File:
    """Read one file. Raises PresetError."""
    return _parsed(path, _text(path.stem, path), builtin)


def _parsed(path: Path, text: str, builtin: bool) -> _File:
    """Read a text as a preset. Raises PresetError."""
    name = path.stem
    try:
        table = tomllib.loads(text)
    except RecursionError as error:
        raise PresetError(name, "nested too deeply", file=path) from error
    except ValueError as error:  # TOMLDecodeError, or an integer of thousands of digits.
        what, line = refusal(error, text)
        raise PresetError(name, "not valid TOML", file=path, line=line, note=printable(what, 200)) from error
    if _deeper_than(table, MAX_DEPTH):
        raise PresetError(name, "nested too deeply", file=path, note=f"more than {MAX_DEPTH} levels")
    return _File(name, path, builtin, text, table)


def _text(name: str, path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise PresetError(name, "not a file", file=path)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PresetError(name, "cannot be read", file=path, note=error.strerror or str(error)) from error
    if len(data) > MAX_BYTES:
        raise PresetError(
            name, "too large", file=path, note=f"a preset has at most {MAX_BYTES // 1024} KB", hint="Is it a preset?"
        )
    try:
        # Some editors begin a file with a byte order mark, which TOML does not know.
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PresetError(
            name, "not UTF-8 text", file=path, line=line, hint="Save the file with UTF-8 encoding."
        ) from error


def _deeper_than(table: dict[str, Any], limit: int) -> bool:
    level: list[Any] = [table]
    for _ in range(limit):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _placed(file: _File, problem: PresetError) -> PresetError:
    """Return `problem` with the line of its key in `file`."""
    return problem.at(file.path, line_of(key_lines(file.text), problem.path))
