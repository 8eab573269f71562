"""`chats import`: conversations from files, each taken in whole or not at all, and told one by one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from backends.errors import Problem
from backends.shown import shown_path
from tui import units
from tui.chat.clean import clean_line
from tui.chat.importing import reading as importing
from tui.chat.importing.incoming import CannotImport, Incoming
from tui.chat.importing.taking_in import Outcome, take_in
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError
from tui.commands import chats_find, output

_WORDS = {
    "imported": "Imported",
    "same": "Here already",
    "different": "Here already, and different",
    "thrown_away": "Here already, but deleted",
}


class _Failed(msgspec.Struct, frozen=True):
    """A chat, or a file, that did not come in."""

    title: str
    detail: str
    hint: str


class _Report(msgspec.Struct):
    """What came of all files."""

    outcomes: list[Outcome]
    failed: list[_Failed]

    @property
    def whole(self) -> bool:
        """Whether all that the files hold is here now."""
        return not self.failed and all(one.how in {"imported", "same"} for one in self.outcomes)


def configure(actions: Any) -> None:
    """Add `import`."""
    importing_ = chats_find.add_action(actions, "import", "take in chats from files", _import)
    importing_.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="our own JSON, lists of messages (JSON, JSONL), `ollama run` transcripts, Modelfiles; - is standard input",
    )
    importing_.add_argument("--as-new", action="store_true", help="also those that are here already, with new ids")


def _import(arguments: argparse.Namespace) -> int:
    report = _Report([], [])
    with chats_find.opened() as store:
        try:
            for name in arguments.files:
                _read(store, name, arguments, report)
        except StoreError as problem:
            _fail(problem, arguments, report)
    if arguments.json:
        output.say_json(_as_json(report))
    else:
        output.say(_sum(report))
    return output.DONE if report.whole else output.FAILED


def _read(store: Store, name: str, arguments: argparse.Namespace, report: _Report) -> None:
    try:
        for one in importing.read(*_content(name)):
            _take_in(store, one, arguments, report)
    except CannotImport as problem:
        _fail(problem, arguments, report)


def _content(name: str) -> tuple[bytes, str]:
    """Return what a file holds, and its name for messages. Raises CannotImport."""
    if name == "-":
        return sys.stdin.buffer.read(importing.MOST_BYTES + 1), "standard input"
    path = Path(name).expanduser()
    try:
        with path.open("rb") as opened:
            return opened.read(importing.MOST_BYTES + 1), shown_path(path)
    except OSError as error:
        raise CannotImport(
            "The file cannot be read", f"{shown_path(path)}: {error.strerror}", "Check its name and its permissions."
        ) from error


def _take_in(store: Store, one: Incoming | CannotImport, arguments: argparse.Namespace, report: _Report) -> None:
    """Take one chat in. What keeps one out keeps no other; StoreError, which keeps out all, is raised."""
    if isinstance(one, CannotImport):
        _fail(one, arguments, report)
        return
    try:
        outcome = take_in(store, one, as_new=arguments.as_new)
    except CannotImport as problem:
        _fail(problem, arguments, report)
        return
    report.outcomes.append(outcome)
    if not arguments.json:
        for line in _lines(outcome):
            output.say(line)


def _fail(problem: Problem, arguments: argparse.Namespace, report: _Report) -> None:
    report.failed.append(_Failed(problem.title, problem.detail, problem.hint))
    if not arguments.json:
        output.say_error(problem)


def _lines(outcome: Outcome) -> Iterator[str]:
    title = clean_line(outcome.title)
    detail = units.counted(outcome.messages, "message") if outcome.how == "imported" else outcome.detail
    yield f"{_WORDS[outcome.how]}: {title}" + (f" ({detail})" if detail else "")
    if outcome.how == "different":
        yield f"    {outcome.place}: nothing was changed; --as-new takes it in beside the other"
    if outcome.left_out and outcome.how == "imported":
        yield f"    left out, because only text is kept: {', '.join(outcome.left_out)}"


def _sum(report: _Report) -> str:
    came = sum(one.how == "imported" for one in report.outcomes)
    parts = [f"{units.counted(came, 'chat')} came in"]
    for how, words in (("same", "here already"), ("different", "different here"), ("thrown_away", "deleted here")):
        count = sum(one.how == how for one in report.outcomes)
        if count:
            parts.append(f"{count} {words}")
    if report.failed:
        parts.append(f"{len(report.failed)} could not be read")
    return ", ".join(parts) + "."


def _as_json(report: _Report) -> dict[str, Any]:
    return {
        "imported": sum(one.how == "imported" for one in report.outcomes),
        "chats": report.outcomes,
        "failed": report.failed,
    }
