"""Plain values into structs, with errors that name the key, what was expected and the nearest match."""

from __future__ import annotations

import difflib
import functools
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from backends.errors import Problem
from backends.shown import printable
from presets.problems import PresetError, dotted
from presets.toml_lines import Key

Value = TypeVar("Value", bound=msgspec.Struct)

_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "date": "a date",
    "datetime": "a date and time",
    "time": "a time",
}


def checked(name: str, table: dict[str, Any], struct: type[Value], at: Key = ()) -> Value:
    """Return `table` as a `struct`. Raises PresetError, without file and line; `at` is the path of the table."""
    _check_keys(name, table, struct, at)
    try:
        return msgspec.convert(table, struct)
    except msgspec.ValidationError as error:
        raise _wrong_value(name, str(error), table, struct, at) from error
    except Problem as error:
        # A plug-in's struct may check itself.
        raise PresetError(name, error.title, path=at, note=error.detail, hint=error.hint) from error


def _check_keys(name: str, table: dict[str, Any], struct: type[msgspec.Struct], at: Key) -> None:
    """Refuse unknown and missing keys, in nested tables too. Raises PresetError."""
    fields = _fields(struct)
    for key in table:
        if key not in fields:
            raise PresetError(name, "unknown key", path=(*at, key), hint=_nearest(key, struct, at))
    for key, field in fields.items():
        if key not in table:
            if field.required:
                raise PresetError(name, "missing key", path=(*at, key), note="it has to be there")
            continue
        value, nested = table[key], _struct_in(field.type)
        if nested is not None and isinstance(value, dict):
            _check_keys(name, value, nested, (*at, key))
        elif _is_dict_of_dicts(field.type) and isinstance(value, dict):
            for inner, found in value.items():
                if not isinstance(found, dict):
                    raise PresetError(
                        name, "wrong type", path=(*at, key, inner), note=f"expected a table, found {_kind(found)}"
                    )


def _wrong_value(name: str, message: str, table: dict[str, Any], struct: type[msgspec.Struct], at: Key) -> PresetError:
    found = _MESSAGE.fullmatch(message)
    what, inner = (found["what"], found["path"] or "") if found else (message, "")
    path = tuple(part for part in re.sub(r"\[[^\]]*\]", "", inner).split(".") if part)
    choices, value = _choices_at(struct, path), _value_at(table, path)
    allowed = [word for choice in choices if get_origin(choice) is Literal for word in get_args(choice)]
    if what.startswith("Invalid enum value"):
        texts = [choice for choice in allowed if isinstance(choice, str)]
        near = difflib.get_close_matches(value, texts, 1) if isinstance(value, str) else []
        kinds = [_WORDS[kind.__name__] for kind in choices if kind in {int, float}]
        hint = f"Did you mean {near[0]}?" if near else f"Choose one of: {', '.join([*map(str, allowed), *kinds])}."
        note = f"found {printable(value) if isinstance(value, str) else _kind(value)}"
        return PresetError(name, "wrong value", path=(*at, *path), note=note, hint=hint)
    title = "wrong type" if ", got `" in what else "wrong value"
    hint = f"Words that are allowed: {', '.join(map(str, allowed))}." if allowed else ""
    return PresetError(name, title, path=(*at, *path), note=_in_words(what), hint=hint)


def _in_words(message: str) -> str:
    """Turn "Expected `int | null`, got `str`" into "expected a whole number, found text in quotes"."""

    def words(match: re.Match[str]) -> str:
        kinds = [kind for kind in match[1].split(" | ") if kind != "null"]
        return " or ".join(_WORDS.get(kind, kind) for kind in kinds)

    text = re.sub(r"`([^`]*)`", words, message).replace(", got ", ", found ")
    return text[:1].lower() + text[1:]


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}
    return kinds.get(type(value), "a table" if isinstance(value, dict) else f"a {type(value).__name__}")


def _nearest(key: str, struct: type[msgspec.Struct], at: Key) -> str:
    """Suggest a key: a similar one in this table, else the same one in a table below or above."""
    near = difflib.get_close_matches(key, _fields(struct), 1)
    if near:
        return f"Did you mean {dotted((*at, near[0]))}?"
    below = [path for path in _all_keys(struct, at) if path[-1] == key]
    if below:
        return f"Did you mean {dotted(below[0])}?"
    return f"Known here: {', '.join(_fields(struct))}."


def _all_keys(struct: type[msgspec.Struct], at: Key) -> Iterator[Key]:
    for key, field in _fields(struct).items():
        yield (*at, key)
        nested = _struct_in(field.type)
        if nested is not None:
            yield from _all_keys(nested, (*at, key))


@functools.cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, without Annotated around them."""
    if get_origin(annotation) is Annotated:
        return _choices(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return tuple(choice for member in get_args(annotation) for choice in _choices(member))
    return (annotation,)


def _struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    for choice in _choices(annotation):
        if isinstance(choice, type) and issubclass(choice, msgspec.Struct):
            return choice
    return None


def _is_dict_of_dicts(annotation: Any) -> bool:
    return get_origin(annotation) is dict and get_origin(get_args(annotation)[1]) is dict


def _choices_at(struct: type[msgspec.Struct], path: Key) -> tuple[Any, ...]:
    """Return the types that the field at `path` may have."""
    annotation: Any = struct
    for key in path:
        nested = _struct_in(annotation)
        field = _fields(nested).get(key) if nested else None
        if field is None:
            return ()
        annotation = field.type
    return _choices(annotation)


def _value_at(table: Any, path: Key) -> Any:
    for key in path:
        table = table.get(key) if isinstance(table, dict) else None
    return table
