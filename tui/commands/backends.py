"""`deepseek-tui backends`: which there are, whether each can be used here, and what a preset may say about it."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from backends import registry
from backends.base import Availability
from backends.errors import NotInstalled, Problem
from backends.titles import backend_title
from tui.commands import output, parser, table

_WHY = 4
_EPILOG = """\
examples:
  deepseek-tui backends                   all of them, and why some cannot be used here
  deepseek-tui backends show llama_cpp    what a preset may say under [backends.llama_cpp]

A plug-in is a package with an entry point in the group "deepseek_tui.backends"."""


class BackendRow(msgspec.Struct, frozen=True):
    """One backend. `package` brings it; `hides` are packages whose backend of the same name is not used."""

    name: str
    title: str
    package: str
    package_version: str
    plugin: bool
    ready: bool
    version: str
    gpu: bool | None
    detail: str
    hint: str
    capabilities: tuple[str, ...]
    hides: tuple[str, ...]


class OptionRow(msgspec.Struct, frozen=True):
    """One key that a preset may write. `default` is None where there is none, and `required` says so."""

    key: str
    type: str
    default: Any
    required: bool


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `backends`."""
    subparser.epilog = _EPILOG
    parser.add_json(subparser)
    actions = subparser.add_subparsers(dest="action", metavar="ACTION", parser_class=parser.Parser)
    listing = actions.add_parser("list", help="all backends (the default)", allow_abbrev=False)
    parser.add_json(listing, argparse.SUPPRESS)
    show = actions.add_parser("show", help="one, with its options", allow_abbrev=False)
    parser.add_json(show, argparse.SUPPRESS)
    show.add_argument("name", metavar="NAME")


def run(arguments: argparse.Namespace) -> int:
    """List or show; return the exit status. Raises Problem."""
    if arguments.action == "show":
        return _show(arguments.name, as_json=arguments.json)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(_row, registry.names()))
    if arguments.json:
        output.say_json({"backends": rows})
        return output.DONE
    cells = [(row.name, row.title, row.package if row.plugin else "–", row.version or "–", _state(row)) for row in rows]
    head = ("NAME", "TITLE", "PLUG-IN", "VERSION", "HERE")
    for line in table.table(head, cells, table.width(), spare=(_WHY,)):
        output.say(line)
    for row in rows:
        if not row.ready and row.hint:
            output.say(f"{row.name}: {row.hint}")
        if row.hides:
            output.say(f"{row.name}: the one of {', '.join(row.hides)} has the same name and is not used")
    return output.DONE


def _show(name: str, *, as_json: bool) -> int:
    if registry.place(name) is None:
        registry.find(name)  # It says which there are.
    row = _row(name)
    try:
        options = option_rows(registry.options_type(name))
    except NotInstalled:
        options = []
    if as_json:
        output.say_json({"backend": row, "options": options})
        return output.DONE
    brings = f"{row.package} {row.package_version}".strip()
    output.say(f"{row.title} ({row.name}), {'a plug-in of' if row.plugin else 'part of'} {brings}")
    output.say(f"here: {_state(row)}")
    if row.hint:
        output.say(f"      {row.hint}")
    if row.capabilities:
        output.say(f"can: {', '.join(row.capabilities)}")
    if options:
        output.say(f"\n[backends.{row.name}]")
        cells = [(one.key, one.type, "required" if one.required else _toml(one.default)) for one in options]
        for line in table.table(("KEY", "TYPE", "DEFAULT"), [("source", "text", "required"), *cells], table.width()):
            output.say(line)
    return output.DONE


def _row(name: str) -> BackendRow:
    found = registry.probe(name)
    where = registry.place(name) or registry.Place("", "", plugin=True, hides=())
    return BackendRow(
        name,
        _title(name, found, plugin=where.plugin),
        where.package,
        where.version,
        where.plugin,
        found.ready,
        found.version,
        found.gpu,
        found.detail,
        found.hint,
        found.capabilities,
        where.hides,
    )


def _title(name: str, found: Availability, *, plugin: bool) -> str:
    """Return how people write its name; that of a plug-in is known only once it was imported."""
    if not plugin or not found.ready:
        return backend_title(name)
    try:
        return registry.find(name).title
    except Problem:
        return name


def _state(row: BackendRow) -> str:
    if not row.ready:
        return row.detail or "cannot be used"
    kind = {True: "ready, on the card", False: "ready, CPU only", None: "ready"}[row.gpu]
    return f"{kind}: {row.detail}" if row.detail else kind


def option_rows(options: type[msgspec.Struct]) -> list[OptionRow]:
    """Return what a preset may write, as an Options struct declares it."""
    schema = msgspec.json.schema(options)
    parts = schema.get("$defs", {})
    whole = parts.get(schema.get("$ref", "").rpartition("/")[2], schema)
    required = set(whole.get("required", ()))
    return [
        OptionRow(key, _type(value, parts), value.get("default"), key in required)
        for key, value in whole.get("properties", {}).items()
    ]


def _type(value: dict[str, Any], parts: dict[str, Any]) -> str:
    """Say what a value may be, in TOML's words."""
    if "anyOf" in value:
        kinds = [_type(one, parts) for one in value["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in value:
        return " or ".join(_toml(one) for one in value["enum"])
    if "$ref" in value:
        return "table"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    kind = words.get(value.get("type", ""), {"array": "list", "object": "table"}.get(value.get("type", ""), "any"))
    low, high = value.get("minimum"), value.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low:,} to {high:,}"
    return kind if low is None else f"{kind}, at least {low:,}"


def _toml(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
