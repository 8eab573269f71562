"""Change single values of a TOML text; everything else in it stays as its author wrote it, comments included.

What cannot be changed in this way, because the author wrote it in another form than a line of its own, is refused.
"""

from __future__ import annotations

import tomllib
from typing import Any

from presets.toml_lines import Key, Pair, Section, sections


class CannotEdit(Exception):
    """A text in which a key cannot be changed line by line. `key` is the one."""

    def __init__(self, key: Key) -> None:
        super().__init__(".".join(key))
        self.key = key


def put(text: str, key: Key, value: Any) -> str:
    """Return a text in which `key` has this value: in its place where it has one, else at the end of its table.

    `text` must be valid TOML whose lines end without a carriage return. Raises CannotEdit.
    """
    parts = sections(text)
    pair = _pair(parts, key)
    if pair is not None:
        _check_comments(text, pair)
        changed = text[: pair.value] + literal(value) + text[pair.end :]
    else:
        changed = _added(text, parts, key, f"{_written_key(key[-1:])} = {literal(value)}")
    return _verified(text, changed, key, value)


def drop(text: str, key: Key) -> str:
    """Return a text without `key`, and without the comment behind it. Raises CannotEdit."""
    pair = _pair(sections(text), key)
    if pair is None:
        raise CannotEdit(key)
    _check_comments(text, pair)
    start = text.rfind("\n", 0, pair.start) + 1
    end = text.find("\n", pair.end)
    changed = text[:start] + (text[end + 1 :] if end >= 0 else "")
    return _verified(text, changed, key, None)


def literal(value: Any) -> str:
    """Return a value as TOML writes it, on one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{_written_key((key,))} = {literal(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    import tomli_w

    return tomli_w.dumps({"k": value}).removeprefix("k = ").rstrip("\n")


def _pair(parts: tuple[Section, ...], key: Key) -> Pair | None:
    return next((pair for part in parts for pair in part.pairs if pair.key == key), None)


def _check_comments(text: str, pair: Pair) -> None:
    """Raise CannotEdit for a list that may have comments among its items: they would be lost."""
    value = text[pair.value : pair.end]
    if value.startswith(("[", "{")) and "\n" in value and "#" in value:
        raise CannotEdit(pair.key)


def _added(text: str, parts: tuple[Section, ...], key: Key, line: str) -> str:
    table = key[:-1]
    part = next((part for part in parts if part.table == table), None)
    if part is None:
        separated = text if not text or text.endswith("\n\n") else text.rstrip("\n") + "\n\n"
        return f"{separated}[{_written_key(table)}]\n{line}\n"
    if part.pairs or table:
        at = text.find("\n", part.pairs[-1].end if part.pairs else part.body)
        return f"{text}\n{line}\n" if at < 0 else f"{text[: at + 1]}{line}\n{text[at + 1 :]}"
    return _at_the_top(text, line)


def _at_the_top(text: str, line: str) -> str:
    """Put a line before all tables, behind the comment that speaks of the whole file."""
    lines = text.split("\n")
    head = next((number for number, one in enumerate(lines) if not one.startswith("#")), len(lines))
    if head and head < len(lines) and lines[head].strip():
        head = 0  # that comment belongs to the table below it
    return "\n".join([*lines[:head], *([""] if head else []), line, *([] if head else [""]), *lines[head:]])


def _verified(text: str, changed: str, key: Key, value: Any) -> str:
    """Return `changed` if it says what it should and nothing else is different. Raises CannotEdit."""
    wanted = _read(text)
    table: Any = wanted
    for part in key[:-1]:
        table = table.setdefault(part, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise CannotEdit(key)
    if value is None:
        table.pop(key[-1], None)
    else:
        table[key[-1]] = _read(f"k = {literal(value)}")["k"]
    try:
        found = _read(changed)
    except (ValueError, RecursionError) as error:
        raise CannotEdit(key) from error
    if found != wanted:
        raise CannotEdit(key)
    return changed


def _read(text: str) -> dict[str, Any]:
    """Read a text for comparison: nan is not even itself, so numbers with a point stay as they are written."""
    return tomllib.loads(text, parse_float=str)


def _written_key(key: Key) -> str:
    bare = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    return ".".join(part if part and set(part) <= bare else literal(part) for part in key)
