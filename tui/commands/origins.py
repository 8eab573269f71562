"""`deepseek-tui origins`: the servers that conversations may be sent to, and their keys."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

import msgspec

from backends import origins
from backends.errors import Problem, Unauthorized
from backends.origins import Origin
from presets.catalog import load_catalog
from tui import settings
from tui.commands import output, parser, table

_EPILOG = """\
examples:
  deepseek-tui origins                                        which there are
  deepseek-tui origins add http://gpu-box:8000                conversations may be sent there
  deepseek-tui origins add https://api.deepseek.com --key     asks for its key; a pipe is read instead
  deepseek-tui origins remove https://api.deepseek.com        forgets it and its key

A preset names neither key nor variable. A key is sent to its own origin only."""


class OriginRow(msgspec.Struct, frozen=True):
    """One confirmed server. `key` says where its key is; the key itself is never shown."""

    origin: str
    key: str | None
    ca_file: str | None
    presets: tuple[str, ...]


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `origins`."""
    subparser.epilog = _EPILOG
    parser.add_json(subparser)
    verbs = subparser.add_subparsers(dest="verb", metavar="VERB", parser_class=parser.Parser)
    listing = verbs.add_parser("list", help="list them (the default)", allow_abbrev=False)
    parser.add_json(listing, argparse.SUPPRESS)
    add = verbs.add_parser("add", help="confirm a server, and give it a key", allow_abbrev=False)
    add.add_argument("url", metavar="URL", help="its address; what follows the host does not matter")
    where = add.add_mutually_exclusive_group()
    where.add_argument("--key", action="store_true", help="ask for its key and keep it in config.toml")
    where.add_argument("--keyring", action="store_true", help="ask for its key and keep it in the system's keyring")
    add.add_argument("--ca-file", metavar="FILE", help="trust the certificates in this PEM file too")
    remove = verbs.add_parser("remove", help="forget a server and its key", allow_abbrev=False)
    remove.add_argument("url", metavar="URL")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; return the exit status. Raises Problem."""
    if arguments.verb == "add":
        return _add(arguments)
    if arguments.verb == "remove":
        return _remove(arguments.url)
    return _list(as_json=arguments.json)


def _list(*, as_json: bool) -> int:
    rows = [_row(origin, entry) for origin, entry in sorted(settings.load_settings({}).origins.items())]
    if as_json:
        output.say_json({"origins": rows})
    elif not rows:
        output.say("No server is confirmed yet. Those on this machine need no word.")
    else:
        cells = [(row.origin, row.key or "–", row.ca_file or "–", ", ".join(row.presets) or "–") for row in rows]
        for line in table.table(("ORIGIN", "KEY", "CERTIFICATES", "PRESETS"), cells, table.width()):
            output.say(line)
    return output.DONE


def _row(origin: str, entry: Origin) -> OriginRow:
    key = "in the keyring" if entry.keyring else "in config.toml" if entry.key else None
    return OriginRow(origin, key, entry.ca_file or None, _users(origin))


def _users(origin: str) -> tuple[str, ...]:
    """Return the presets that name this server."""
    found = []
    for entry in load_catalog().entries:
        addresses = [str(options.get(key, "")) for options in entry.preset.backends.values() for key in _ADDRESSES]
        if any(address and _same(address, origin) for address in addresses):
            found.append(entry.name)
    return tuple(found)


_ADDRESSES = ("base_url", "host")


def _same(address: str, origin: str) -> bool:
    try:
        return origins.origin_of(address) == origin
    except Problem:
        return False


def _add(arguments: argparse.Namespace) -> int:
    origin = origins.origin_of(arguments.url)
    known = settings.load_settings({}).origins.get(origin)
    entry = known or Origin()
    if arguments.ca_file:
        entry = msgspec.structs.replace(entry, ca_file=_place(arguments.ca_file))
    if arguments.key:
        entry = msgspec.structs.replace(entry, key=_entered(origin), keyring=False)
    if arguments.keyring:
        origins.set_keyring_key(origin, _entered(origin))
        entry = msgspec.structs.replace(entry, key="", keyring=True)
    settings.put_origin(origin, entry)
    if known is not None and known.keyring and not entry.keyring:
        _forget_kept(origin)
    output.say(f"Conversations may be sent to {origin}." if known is None else f"Changed: {origin}.")
    if origin.startswith("http:") and not origins.is_local(origin):
        output.warn("The line is not encrypted: whoever is between here and there can read along.")
    return output.DONE


def _place(file: str) -> str:
    """Return a path that means the same in every folder."""
    return file if file.startswith("~") else str(Path(file).absolute())


def _entered(origin: str) -> str:
    """Return a key from the terminal, unseen, or from a pipe. Raises Problem."""
    key = getpass.getpass(f"Key for {origin}: ") if output.is_terminal(0) else sys.stdin.readline()
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise Problem("That is no key", "A key is one word of letters, digits and signs.", "Nothing was changed.")
    return key


def _remove(url: str) -> int:
    origin = origins.origin_of(url)
    entry = settings.load_settings({}).origins.get(origin)
    if entry is None:
        raise Problem(f"{origin} is not among them", "", "`deepseek-tui origins` lists them.")
    settings.remove_origin(origin)
    output.say(f"Forgotten: {origin}.")
    if entry.keyring:
        _forget_kept(origin)
    return output.DONE


def _forget_kept(origin: str) -> None:
    """Take a key that is no longer used out of the keyring; one that is locked keeps it, and that is said."""
    try:
        origins.delete_keyring_key(origin)
    except Unauthorized as error:
        output.warn(f"Its key is still in the keyring: {error.detail}")
