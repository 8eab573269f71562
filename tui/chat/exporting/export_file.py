"""Writing what is exported: whole or not at all, readable by its owner alone, and never over another file unasked."""

from __future__ import annotations

import contextlib
import os
import re
import time
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from backends import atomic
from backends.errors import Problem
from backends.shown import shown_path
from tui.chat.exporting.chat_file import LATEST_S
from tui.chat.storing.stored import Conversation

_NAME_CHARACTERS = 40
_ID_DIGITS = 8
_NO_WORD = re.compile(r"[\W_]+")


class CannotWrite(Problem):
    """An exported file cannot be written, or there is one already."""


def write(target: Path, pieces: Iterable[str], *, over: bool = False) -> None:
    """Write a file in one step; only with `over` in the place of another one. Raises CannotWrite.

    What a link leads to is replaced, not the link.
    """
    try:
        place = target.resolve() if target.is_symlink() else target
        if place.exists() and not place.is_file():
            raise CannotWrite(
                "This is no ordinary file", shown_path(target), "Without -o the text goes to standard output."
            )
        if place.exists() and not over:
            raise there_already(target)
        temporary = place.with_name(f".{place.name[:40]}.{os.urandom(6).hex()}")
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8", newline="") as opened:
                opened.writelines(pieces)
                opened.flush()
                os.fsync(opened.fileno())
            _place(temporary, place, target, over=over)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
        with contextlib.suppress(OSError):
            atomic.sync_folder(place.parent)
    except OSError as error:
        raise CannotWrite(
            "The file cannot be written",
            f"{shown_path(target)}: {error.strerror or error}",
            "Check the folder, its owner and the free space.",
        ) from error


def folder(target: Path) -> Path:
    """Return a folder for exported files, made for its owner alone if it is not there. Raises CannotWrite."""
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(
            "The folder cannot be made", f"{shown_path(target)}: {error.strerror}", "Name another one with -o."
        ) from error
    return target


def file_name(chat: Conversation, ending: str, taken: set[str]) -> str:
    """Return a name for a chat's file: its day, its title and its id. It is added to `taken`, lower-case.

    No character of it means anything to a shell or a file system, and no two differ in their case alone.
    """
    title = unicodedata.normalize("NFC", chat.title)
    words = _NO_WORD.sub("-", title.lower()).strip("-")[:_NAME_CHARACTERS].strip("-") or "chat"
    dated = 0 <= chat.created_at <= LATEST_S
    day = time.strftime("%Y-%m-%d", time.localtime(chat.created_at)) if dated else "undated"
    for digits in range(_ID_DIGITS, 65):
        name = f"{day}-{words}-{chat.id[:digits]}.{ending}"
        if name.lower() not in taken:
            break
    taken.add(name.lower())
    return name


def _place(temporary: Path, place: Path, target: Path, *, over: bool) -> None:
    if over:
        temporary.replace(place)
        return
    try:
        atomic.put_new(temporary, place)
    except FileExistsError as error:
        raise there_already(target) from error


def there_already(target: Path) -> CannotWrite:
    """Return the error of a file that is not to be replaced unasked."""
    return CannotWrite("There is such a file already", shown_path(target), "--force replaces it.")
