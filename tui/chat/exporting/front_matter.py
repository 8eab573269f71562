"""Front matter: a few facts as YAML at the head of a Markdown file, valid whatever the texts in them hold."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

Scalar = str | int | float | bool | datetime.datetime | None
Value = Scalar | Sequence[Scalar] | Sequence[Mapping[str, Scalar]]

_DECIMALS = 9


def front_matter(facts: Mapping[str, Value]) -> str:
    """Return the facts between two lines of three dashes. The keys must be plain words."""
    lines = ["---"]
    for key, value in facts.items():
        if isinstance(value, str) or not isinstance(value, Sequence):
            lines.append(f"{key}: {_scalar(value)}")
        elif not value:
            lines.append(f"{key}: []")
        else:
            lines += [f"{key}:", *(f"  - {_item(item)}" for item in value)]
    return "\n".join([*lines, "---"]) + "\n"


def quoted(text: str) -> str:
    """Return a text as a double-quoted scalar, which JSON, YAML 1.1 and YAML 1.2 read alike.

    What they read differently, or take for a line break or for nothing printable, is written as an escape; only
    characters beyond U+FFFF have one that JSON does not know.
    """
    return '"' + "".join(map(_character, text)) + '"'


def _item(item: Scalar | Mapping[str, Scalar]) -> str:
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in item.items()) + "}"
    return _scalar(item)


def _scalar(value: Scalar) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            # Without an exponent, which YAML 1.1 takes for a text where no point stands before it.
            written = f"{value:.{_DECIMALS}f}".rstrip("0")
            return written + "0" if written.endswith(".") else written
        case datetime.datetime():
            return value.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case _:
            return quoted(value)


def _character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
