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
from tui.words import _

USUAL = ("nano", "vim", "vi")
LARGEST_BYTES = 8 * 1024 * 1024
_HINT = '`editor = "nano"` in config.toml names one, or the variables VISUAL and EDITOR.'


class Lent(NamedTuple):
    """A file that an editor has, and the lock that says so as long as this process lives."""

    path: Path
    lock: int


class Back(NamedTuple):
    """The text that holds once an editor has ended, and what is to be said of it, "" for nothing."""

    text: str
    said: str = ""


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


def back(before: str, after: str, status: int) -> Back:
    """Return which text holds: `before`, or `after` as the editor has left it, which ended with `status`.

    One that ends with an error says so: its text is not meant. One that a signal has ended has said nothing.
    """
    if status < 0 and after.strip() and after != before:
        return Back(after, _("The editor was ended by a signal. What it had saved is here"))
    if status:
        return Back(before, _("The editor ended with an error ({status}). Your text stays").format(status=status))
    if not after.strip():
        return Back(before, _("Nothing came back from the editor. Your text stays"))
    return Back(after)


def close(lent: Lent, *, kept: bool = False) -> None:
    """Have the text no more; unless it is `kept`, its file goes."""
    if not kept:
        lent.path.unlink(missing_ok=True)
    lent.path.with_suffix(".lock").unlink(missing_ok=True)
    os.close(lent.lock)
