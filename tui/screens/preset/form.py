"""The main settings of a preset as fields of text, and back: what was typed, checked as its file would be."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from backends.base import Sampling
from backends.errors import NotInstalled
from backends.titles import backend_title
from presets import writing
from presets.catalog import Catalog, own_file, read_text
from presets.problems import PresetError
from presets.schema import SLOTS, PresetEntry, registered_options
from presets.toml_lines import Key
from tui import keys
from tui.chat.clean import clean_line
from tui.words import N_, _

SLOT: Key = ("slot",)
BACKEND: Key = ("backend",)
_OPTIONS = ("context", "kv_cache", "gpu_layers")
_UNITS = {
    "context": N_("tokens"),
    "gpu_layers": N_("auto or a number"),
    "keep_alive_s": N_("seconds after the last use"),
}


class Field(msgspec.Struct, frozen=True):
    """One setting. `text` is what it is, `usual` what it is where no file says it.

    `choices` are its values and how they read, () where it is typed; `notes` are what to know of some of them.
    `backends` are those that have it, () is all.
    """

    key: Key
    label: str
    text: str
    usual: str = ""
    unit: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    notes: dict[str, str] = {}
    backends: tuple[str, ...] = ()


class Checked(msgspec.Struct, frozen=True):
    """What was typed, as a preset. `edited` is what would be written, None where nothing would.

    `entry` is the preset without what is wrong. `wrong` are the faults of fields, `fault` is any other. `empty` says of
    what was emptied what it is then.
    """

    entry: PresetEntry
    edited: writing.Edited | None = None
    wrong: dict[Key, PresetError] = {}
    fault: PresetError | None = None
    empty: dict[Key, str] = {}

    @property
    def right(self) -> bool:
        return not self.wrong and self.fault is None


def fields(entry: PresetEntry, catalog: Catalog, keep_alive_s: float | None = None) -> tuple[Field, ...]:
    """Return the fields of a preset. `keep_alive_s` is how long models stay where no preset says it.

    A plug-in may be asked what its options are: not for an event loop.
    """
    preset, sampling, usual = entry.preset, entry.preset.sampling, Sampling()
    slot = str(preset.slot) if preset.slot else ""
    stays = "" if preset.keep_alive_s is None else _number(preset.keep_alive_s)
    backends = tuple((name, backend_title(name)) for name in preset.backends)
    return (
        Field(("title",), _("title"), clean_line(preset.title), clean_line(entry.name)),
        Field(SLOT, _("key"), slot, choices=_slots(), notes=_takers(entry, catalog)),
        Field(BACKEND, _("backend"), preset.backend, choices=backends),
        *_options(entry),
        Field(("sampling", "temperature"), "temperature", _number(sampling.temperature), _number(usual.temperature)),
        Field(("sampling", "top_p"), "top_p", _number(sampling.top_p), _number(usual.top_p)),
        Field(
            ("keep_alive_s",),
            "keep_alive_s",
            stays,
            ""
            if keep_alive_s is None
            else _("{keep_alive_s}, as the settings say").format(keep_alive_s=_number(keep_alive_s)),
            _(_UNITS["keep_alive_s"]),
        ),
    )


def check(catalog: Catalog, entry: PresetEntry, wanted: Sequence[Field], texts: Mapping[Key, str]) -> Checked:
    """Return what was typed as a preset. Each fault that has a field is found, not only the first.

    Raises PresetError where the preset's own file cannot be read.
    """
    values, dropped, emptied = _changes(entry, wanted, texts)
    wrong: dict[Key, PresetError] = {}
    found = Checked(entry)
    while values or dropped:
        try:
            edited = writing.edited(catalog, entry.name, values, dropped)
        except PresetError as problem:
            if problem.path not in values and problem.path not in dropped:
                return Checked(entry, None, wrong, problem)
            wrong[problem.path] = problem
            values.pop(problem.path, None)
            dropped = [key for key in dropped if key != problem.path]
        else:
            found = Checked(edited.entry, edited)
            break
    then = {field.key: field.text or field.usual for field in fields(found.entry, catalog)} if emptied else {}
    empty = {field.key: then.get(field.key) or field.usual for field in emptied}
    return msgspec.structs.replace(found, wrong=wrong, empty=empty)


def _changes(
    entry: PresetEntry, wanted: Sequence[Field], texts: Mapping[Key, str]
) -> tuple[dict[Key, Any], list[Key], list[Field]]:
    """Return what is to be written, what is to be taken out of the preset's own file, and which fields are empty."""
    own = own_file(entry.name)
    written = _table(own) if own is not None else {}
    values: dict[Key, Any] = {}
    dropped, emptied = [], []
    for field in wanted:
        text = texts[field.key].strip()
        if text == field.text:
            continue
        if field.key == SLOT:
            values[SLOT] = int(text or 0)
        elif text:
            values[field.key] = _value(field, text)
        else:
            emptied.append(field)
            if _is_in(written, field.key):
                dropped.append(field.key)
    return values, dropped, emptied


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except (ValueError, RecursionError):
        return {}  # What is wrong there is said when it is edited.


def holder(catalog: Catalog, entry: PresetEntry, slot: int) -> PresetEntry | None:
    """Return the other preset that has a key now, None if it is free."""
    return next((one for one in catalog.entries if one.preset.slot == slot and one.name != entry.name), None)


def save(catalog: Catalog, found: writing.Edited) -> None:
    """Write an edited preset; one of the user's own that has its key gives it up. Raises Problem."""
    slot = found.entry.preset.slot
    other = holder(catalog, found.entry, slot) if slot else None
    # A built-in yields to a preset of the user's by itself.
    taken = writing.edited(catalog, other.name, {SLOT: 0}) if other is not None and not other.builtin else None
    writing.write(found)
    if taken is not None:
        writing.write(taken)


def _takers(entry: PresetEntry, catalog: Catalog) -> dict[str, str]:
    """Return from whom a key would be taken."""
    others = {slot: holder(catalog, entry, slot) for slot in range(1, SLOTS + 1)}
    return {
        str(slot): _("taken from {title}").format(title=other.preset.title)
        for slot, other in others.items()
        if other is not None
    }


def _options(entry: PresetEntry) -> Iterator[Field]:
    """Yield the options that the preset's backends have of those that matter most."""
    sharing = []
    own: list[Field] = []
    for backend, table in entry.preset.backends.items():
        try:
            known = {field.name: field for field in msgspec.structs.fields(registered_options(backend))}
        except NotInstalled:
            continue
        for name in _OPTIONS:
            if name == "context" and name in known and name not in table:
                sharing.append((backend, known[name].default))
            elif name in known:
                own.append(_option(backend, known[name], table.get(name)))
    if sharing:
        # Most presets say the context once, for all their backends.
        text = "" if entry.preset.context is None else str(entry.preset.context)
        names = tuple(backend for backend, _default in sharing)
        yield Field(("context",), "context", text, _plain(sharing[0][1]), _(_UNITS["context"]), backends=names)
    yield from own


def _option(backend: str, option: msgspec.structs.FieldInfo, value: Any) -> Field:
    words, usual, name = _words(option.type), _plain(option.default), option.name
    text = str(value) if value is not None else usual if words else ""
    choices = tuple((word, word) for word in words)
    return Field(("backends", backend, name), name, text, usual, _(_UNITS.get(name, "")), choices, backends=(backend,))


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)


def _plain(value: object) -> str:
    return str(value) if isinstance(value, int | str) else ""


def _words(annotation: Any) -> tuple[str, ...]:
    """Return the words of an option that is nothing but one of a few."""
    return tuple(get_args(annotation)) if get_origin(annotation) is Literal else ()


def _value(field: Field, text: str) -> Any:
    """Return what a text means: a number where it reads as one."""
    if field.key == ("title",) or field.choices:
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _is_in(table: Any, key: Key) -> bool:
    for part in key:
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


def _slots() -> tuple[tuple[str, str], ...]:
    """Return the slots with their keys; one without a key has its number."""
    return (("", _("none")), *((str(slot), keys.slot(slot) or str(slot)) for slot in range(1, SLOTS + 1)))
