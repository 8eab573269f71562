"""A text lent to an editor outside: which editor that is, the file that it gets, and the text that comes back.

The file lies beside the drafts, under its chat's name: what the editor saved last is the draft of the next start if
this program is gone before the editor is.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from backends import paths
from backends.errors import Problem
from tui.chat import drafts
from tui.chat.storing.stored import storable

USUAL = ("nano", "vim", "vi")
LARGEST_BYTES = 8 * 1024 * 1024
_HINT = '`editor = "nano"` in config.toml names one, or the variables VISUAL and EDITOR.'


class Lent(NamedTuple):
    """A file that an editor has, and the lock that says so as long as this process lives."""

    path: Path
    lock: int


def editor(
    setting: str, environment: Mapping[str, str], find: Callable[[str], str | None] = shutil.which
) -> tuple[str, ...]:
    """Return the command that opens an editor: that of the settings, of the environment, or one of the usual ones.

    Raises Problem if there is none, or what is named is no command.
    """
    for source, named in (
        ("editor in config.toml", setting),
        ("VISUAL", environment.get("VISUAL", "")),
        ("EDITOR", environment.get("EDITOR", "")),
    ):
        if not named.strip():
            continue
        try:
            command = tuple(shlex.split(named))
        except ValueError as error:
            raise Problem("The editor cannot be started", f"{source}: {named!r}: {error}", _HINT) from error
        if find(command[0]) is None:
            raise Problem("The editor cannot be started", f"{source}: there is no program {command[0]!r}", _HINT)
        return command
    for name in USUAL:
        if find(name) is not None:
            return (name,)
    raise Problem("There is no editor", f"None of {', '.join(USUAL)} is installed.", _HINT)


def lend(chat: str | None, text: str) -> Lent:
    """Put a text into a file for an editor. Raises Problem if that fails, or another screen has it in its editor."""
    path = drafts.outside(chat)
    try:
        paths.private(path.parent)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(path, flags, 0o600), "wb") as opened:
                opened.write(storable(text).encode() + (b"\n" if text and not text.endswith("\n") else b""))
        except OSError:
            os.close(lock)
            raise
    except BlockingIOError:
        raise Problem(
            "Another screen has this text in its editor", str(path), "Close that editor, or type here."
        ) from None
    except OSError as error:
        raise Problem("The text cannot be given to an editor", f"{path}: {error.strerror}", "Type it here.") from error
    return Lent(path, lock)


def take(lent: Lent) -> str:
    """Return what came of a text. Raises Problem if it cannot be read, or is no text; the file then stays."""
    path = lent.path
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
            raw = opened.read(LARGEST_BYTES + 1)
        if len(raw) > LARGEST_BYTES:
            raise Problem("The edited text is too large", f"{path}: more than {LARGEST_BYTES // 1024**2} MB", "")
        text = raw.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise Problem("The edited text is no UTF-8", f"{path}: {error}", "Save it as UTF-8.") from error
    except OSError as error:
        raise Problem("The edited text cannot be read", f"{path}: {error.strerror}", "") from error
    return text


def close(lent: Lent, *, kept: bool = False) -> None:
    """Have the text no more; unless it is `kept`, its file goes."""
    if not kept:
        lent.path.unlink(missing_ok=True)
    lent.path.with_suffix(".lock").unlink(missing_ok=True)
    os.close(lent.lock)
