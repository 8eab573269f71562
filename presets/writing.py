"""The user's own preset files: written whole or not at all, and never with what `presets check` would refuse."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from backends import atomic, paths
from backends.errors import Problem
from backends.shown import printable, shown_path
from presets.catalog import BUILTIN, Catalog, check_text, find, own_file, read_text
from presets.problems import PresetError, dotted
from presets.schema import PresetEntry
from presets.toml_edit import CannotEdit, drop, literal, put
from presets.toml_lines import Key

_TITLE_LENGTH = 73
"""What of a title leaves room for " (copy)"."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Edited(msgspec.Struct, frozen=True):
    """What a preset's file is to say. `new` says that there is no such file yet."""

    path: Path
    text: str
    entry: PresetEntry
    new: bool


def check_name(name: str) -> str:
    """Return the name of a new preset. Raises Problem for one that no file may have, or that is taken."""
    if not _NAME.fullmatch(name) or name.endswith(".toml"):
        hint = "Letters, digits and . _ - are allowed, beginning with a letter or a digit: my-8b"
        raise Problem("That cannot be a preset's name", printable(name), hint)
    if own_file(name) is not None:
        hint = f"Choose another name, or: deepseek-tui presets set {name} KEY=VALUE"
        raise Problem(f"There is a preset {name} already", shown_path(_place(name)), hint)
    if (BUILTIN / f"{name}.toml").exists():
        hint = f"Choose another name, or change that one: deepseek-tui presets set {name} KEY=VALUE"
        raise Problem(f"{name} is the name of a built-in", "A file of that name would hide it.", hint)
    return name


def name_from(text: str) -> str:
    """Return a name for a preset of a model or a file: in small letters, with hyphens for what no name may have."""
    stem = re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", text.casefold())
    return re.sub(r"[^a-z0-9._-]+", "-", stem).strip("._-")[:64].rstrip("._-") or "mine"


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name that no preset has: with a number behind it where need be."""
    names = [name, *(f"{name}-{number}" for number in range(2, 100))]
    return next((one for one in names if one not in taken), name)


def create(name: str, text: str) -> PresetEntry:
    """Write a new preset, and return it. Raises PresetError for a text that is none, Problem where it cannot be."""
    entry = check_text(_place(name), text)
    save(_place(name), text, new=True)
    return entry


def copied(entry: PresetEntry, title: str = "") -> str:
    """Return the text of a copy: the file as it stands, comments included, with another title and without a key.

    Raises PresetError for a file whose title cannot be changed line by line.
    """
    title = title or f"{entry.preset.title[:_TITLE_LENGTH]} (copy)"
    text = _edited(entry.name, entry.file, read_text(entry.file), {("title",): title}, ())
    if "slot" in tomllib.loads(text):
        # Two presets cannot have one key.
        text = _edited(entry.name, entry.file, text, {}, (("slot",),))
    return text


def change(
    catalog: Catalog, name: str, values: Mapping[Key, Any], dropped: Iterable[Key] = ()
) -> tuple[PresetEntry, bool]:
    """Change settings of a preset in the user's own file; return the preset, and whether its file is a new one.

    Raises PresetError as `edited` does, and then nothing is changed.
    """
    found = edited(catalog, name, values, dropped)
    write(found)
    return found.entry, found.new


def edited(catalog: Catalog, name: str, values: Mapping[Key, Any], dropped: Iterable[Key] = ()) -> Edited:
    """Return a preset with other settings, checked and not yet written.

    A built-in is not touched: a file of the same name that extends it holds what differs. Raises PresetError for
    values that a preset may not have, or where the file cannot be changed line by line.
    """
    if own_file(name) is None:
        name = find(catalog, name).name
    own = own_file(name)
    path, text = (_place(name), _override(name)) if own is None else (own, read_text(own))
    changed = _edited(name, path, text, values, dropped)
    return Edited(path, changed, check_text(path, changed), own is None)


def write(found: Edited) -> None:
    """Write an edited preset. Raises Problem."""
    save(found.path, found.text, new=found.new)


def check_removable(catalog: Catalog, name: str) -> Path:
    """Return the user's file of a preset. Raises Problem for a built-in, and for one that others extend."""
    path = own_file(name)
    if path is None:
        entry = find(catalog, name)
        hint = f"It can be changed: deepseek-tui presets set {entry.name} KEY=VALUE"
        if not entry.builtin:
            raise Problem(f"There is no preset {printable(name)}", "", f"Did you mean {entry.name}?")
        raise Problem(f"{entry.name} comes with deepseek-tui and stays", shown_path(entry.file), hint)
    others = extending(catalog, name)
    if others:
        hint = f"Remove them first, or write another `extends` into them: {', '.join(map(printable, others))}."
        raise Problem(f"Other presets extend {printable(name)}", "", hint)
    return path


def remove(catalog: Catalog, name: str) -> Path:
    """Delete a preset of the user's, and return its file. Raises Problem as `check_removable` does."""
    path = check_removable(catalog, name)
    try:
        path.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def extending(catalog: Catalog, name: str) -> list[str]:
    """Return the presets that would be broken without the user's preset `name`."""
    if (BUILTIN / f"{name}.toml").exists():
        return []
    return [entry.name for entry in catalog.entries if entry.preset.extends == name and entry.name != name]


def save(path: Path, text: str, *, new: bool) -> None:
    """Write a preset file, whole or not at all; a new one never over another. Raises Problem."""
    target = path if new else path.resolve()  # a linked file stays a link
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        paths.private(paths.user_presets())
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if new:
            atomic.put_new(temporary, target)
        else:
            temporary.chmod(target.stat().st_mode & 0o777)
            temporary.replace(target)
    except FileExistsError as error:
        raise Problem("Somebody else has just written this preset", shown_path(path), "Look at it first.") from error
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _place(name: str) -> Path:
    return paths.user_presets() / f"{name}.toml"


def _override(name: str) -> str:
    head = f"# What differs from the built-in preset {name}. Without this file it is as it came."
    return f'{head}\nextends = "{name}"\n'


def _edited(name: str, path: Path, text: str, values: Mapping[Key, Any], dropped: Iterable[Key]) -> str:
    """Raises PresetError where a value has no line of its own, and says what to write by hand."""
    try:
        for key in dropped:
            text = drop(text, key)
        for key, value in values.items():
            text = put(text, key, value)
    except CannotEdit as error:
        key = error.key
        wish = f"{dotted(key)} = {literal(values[key])}" if key in values else f"no {dotted(key)}"
        hint = f"Nothing was changed. Write it into the file yourself: {printable(wish, 200)}"
        note = "it is not written on a line of its own there" if key in values else "it does not stand there"
        raise PresetError(name, "cannot be changed for you", path=key, note=note, hint=hint, file=path) from error
    except ValueError as error:
        raise PresetError(name, "not valid TOML", file=path, note=printable(str(error), 200)) from error
    return text


def _unwritable(path: Path, error: OSError) -> Problem:
    what = f"{shown_path(path)}: {error.strerror or error}"
    return Problem("The preset cannot be written", what, "Check the owner of the folder and the free space.")
