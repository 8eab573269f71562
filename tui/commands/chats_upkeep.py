"""`chats check`, `repair` and `backup`: the file of all conversations looked after."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backends.shown import shown_path, size
from tui import units
from tui.chat.exporting import export_file
from tui.chat.storing import upkeep
from tui.chat.storing.upkeep import Finding, Kind, Report
from tui.commands import chats_find, output

_WORDS: dict[Kind, str] = {
    "damaged": "parts of the file cannot be read",
    "newer_schema": "written by a newer deepseek-tui: update this one",
    "older_schema": "written by an older deepseek-tui: brought up at the next start, after a copy",
    "garbled": "texts or figures in which something cannot be read",
    "reference": "rows that name others which are not there",
    "unreachable": "messages that no way leads to",
    "head": "chats that show no branch",
    "not_indexed": "messages that search does not find",
    "index": "the index of words does not fit the messages",
    "spool": "files of answers that nobody writes any more: they are taken in, or were",
    "state": "warm states of chats that are gone",
    "open": "others on this machine can read them",
}


def configure(actions: Any) -> None:
    """Add what looks after the file."""
    chats_find.add_action(actions, "check", "look whether the file of all chats is sound; change nothing", _check)
    chats_find.add_action(actions, "repair", "put right what is not; the file of before is kept", _repair)
    backing = chats_find.add_action(actions, "backup", "copy all chats to a file, also while others write", _backup)
    backing.add_argument("file", metavar="FILE", help="a new file, or a folder")
    backing.add_argument("--force", action="store_true", help="replace a file that is there")


def _check(arguments: argparse.Namespace) -> int:
    report = upkeep.check()
    if arguments.json:
        output.say_json({"sound": report.sound, "report": report})
    else:
        for line in _lines(report):
            output.say(line)
        if not report.sound and all(finding.kind != "newer_schema" for finding in report.findings):
            output.say("`deepseek-tui chats repair` puts it right, and keeps the file as it is now.")
    return output.DONE if report.sound else output.FAILED


def _repair(arguments: argparse.Namespace) -> int:
    done = upkeep.repair()
    if arguments.json:
        output.say_json({"sound": done.after.sound, "repaired": done})
        return output.DONE if done.after.sound else output.FAILED
    for finding in done.before.findings:
        output.say(f"Was: {_line(finding)}")
    if done.textless:
        output.say(f"Of {units.counted(done.textless, 'message')} nothing could be read; each says so.")
    if done.kept:
        output.say(f"The file of before: {shown_path(Path(done.kept))}")
    for line in _lines(done.after):
        output.say(line)
    return output.DONE if done.after.sound else output.FAILED


def _backup(arguments: argparse.Namespace) -> int:
    target = Path(arguments.file).expanduser()
    if target.is_dir():
        target /= f"chats-{time.strftime('%Y-%m-%d-%H%M%S')}.sqlite3"
    elif target.exists() and not arguments.force:
        raise export_file.there_already(target)
    with chats_find.opened() as store:
        upkeep.backup(store, target)
    taken = target.stat().st_size
    if arguments.json:
        output.say_json({"backup": str(target), "size_bytes": taken})
    else:
        output.say(f"Copied: {shown_path(target)}, {_size(taken)}")
    return output.DONE


def _lines(report: Report) -> Iterator[str]:
    known = [
        units.counted(count, what)
        for count, what in ((report.conversations, "chat"), (report.messages, "message"))
        if count is not None
    ]
    yield f"{shown_path(Path(report.path))}: {', '.join([*known, _size(report.size_bytes)])}"
    yield from (f"! {_line(finding)}" for finding in report.findings)
    if not report.findings:
        yield "Nothing is wrong."
    for copy in report.copies:
        yield f"A copy from before, with all that it held: {shown_path(Path(copy))}"


def _line(finding: Finding) -> str:
    count = "" if finding.kind in {"newer_schema", "older_schema", "open"} else f"{finding.count:,} × "
    return f"{count}{_WORDS[finding.kind]}" + (f" ({finding.detail})" if finding.detail else "")


def _size(amount: int) -> str:
    return f"{amount / 1e3:.0f} kB" if amount < 1e6 else size(amount)
