"""What is typed and not sent yet: one small file for each chat, so that it outlives the program.

Not in the database: each commit there has every other screen read its chat anew. Functions may be called from any
thread and block for moments.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from backends import atomic, lock_file, paths
from backends.errors import Problem
from tui.chat.storing.stored import storable

NEW = "new"
"""The name of the draft that is to begin a chat."""
_LARGEST_BYTES = 32 * 1024 * 1024
_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")

_lock = threading.Lock()
_waiting: dict[str | None, Callable[[], Draft]] = {}
_known: dict[Path, float] = {}
_unwritten: dict[Path, Draft] = {}
_to_send: dict[Path, int] = {}
"""Locks of the drafts with questions that this process is to send: as long as one is held, nobody else takes them."""
_last = 0.0


class Draft(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stood in the composer of a chat; `cursor` is line and column, `at` Unix seconds.

    `queued` are questions that were to be sent after the running answer. If `editing` is the id of a question, `text`
    is its new wording and `before` what had been typed before it was edited.
    """

    text: str = ""
    cursor: tuple[int, int] = (0, 0)
    queued: tuple[str, ...] = ()
    editing: str = ""
    before: str = ""
    at: float = 0.0

    @property
    def empty(self) -> bool:
        """Whether nothing would be lost with it."""
        return not (self.text or self.queued or self.editing or self.before)


def moment() -> float:
    """Return when it is, in Unix seconds; but later than any draft known here, even if the clock was set back."""
    global _last  # noqa: PLW0603
    with _lock:
        _last = max(time.time(), math.nextafter(_last, math.inf))
        return _last


def folder() -> Path:
    """Where the drafts are."""
    return paths.state() / "drafts"


def outside(chat: str | None) -> Path:
    """Return where the text of a draft lies while an editor outside has it."""
    return (_path(chat) or folder() / "other.json").with_suffix(".md")


def load(chat: str | None) -> Draft:
    """Return the draft of a chat, or of the one that is not begun; an empty one where none can be read.

    What was left in an editor outside, when the line was cut, is its text then. What another program is to send stays
    with that one. From here on this program sends nothing that was queued before.
    """
    global _last  # noqa: PLW0603
    path = _path(chat)
    if path is None:
        return Draft()
    with _lock:
        for each in list(_to_send):
            _send_no_more(each)
        draft = _unwritten.get(path) or _read(path)
        if draft.queued and _sent_elsewhere(path):
            draft = msgspec.structs.replace(draft, queued=())
        _known[path] = draft.at
        _last = max(_last, draft.at)
    lent, lock = outside(chat), outside(chat).with_suffix(".lock")
    if not lock_file.held(lock):
        # Editors write the name with .save when they are hung up on.
        left = [file for file in (lent.with_name(f"{lent.name}.save"), lent) if file.exists()]
        text = next((text for file in left if (text := _text(file)).strip()), "")
        if text:
            draft = msgspec.structs.replace(draft, text=text, cursor=(0, 0), at=moment())
            with contextlib.suppress(Problem):
                save(chat, draft)
        _remove([*left, lock] if left else [])
    return draft


def save(chat: str | None, draft: Draft) -> None:
    """Keep a draft; an empty one deletes what this program knows of, but not what another has written since.

    One that is older than what was saved is passed over; what another program is to send stays. Raises Problem if it
    cannot be written; it is kept in memory then.
    """
    path = _path(chat)
    if path is None:
        return
    try:
        with _lock:
            if draft.at < _known.get(path, 0.0):
                return
            _unwritten[path] = draft
            theirs = _read(path).queued if _sent_elsewhere(path) else ()
            if not draft.empty or theirs:
                paths.private(path.parent)
                if draft.queued:
                    _send_from_here(path)
                whole = msgspec.structs.replace(draft, queued=(*theirs, *draft.queued))
                atomic.replace(path, msgspec.json.encode(_storable(whole)))
            elif path.exists() and _read(path).at == _known.get(path):
                path.unlink(missing_ok=True)
            _known[path] = draft.at
            del _unwritten[path]
            if not draft.queued:
                _send_no_more(path)
    except OSError as error:
        raise Problem(
            "What you type cannot be kept on the disk",
            f"{path}: {error.strerror}",
            "You can go on. What is not sent yet is lost when the program ends.",
        ) from error


def later(chat: str | None, now: Callable[[], Draft]) -> None:
    """Remember that a draft is to be kept that `now` returns, for the case that the program ends before it is."""
    _waiting[chat] = now


def waiting() -> list[tuple[str | None, Draft]]:
    """Return what is to be kept, as it is now; from here on it is the caller's to keep."""
    found = [(chat, now()) for chat, now in _waiting.items()]
    _waiting.clear()
    return found


def flush() -> None:
    """Keep all that waits: the program ends. What cannot be written is lost."""
    unwritten = [(None if path.stem == NEW else path.stem, draft) for path, draft in list(_unwritten.items())]
    for chat, draft in [*unwritten, *waiting()]:
        with contextlib.suppress(Problem):
            save(chat, draft)


def drop(chat: str) -> None:
    """Delete all that was typed in a chat and not sent. Raises Problem if something stays behind."""
    path = _path(chat)
    if path is None or not path.parent.is_dir():
        return
    _unwritten.pop(path, None)
    # An editor keeps copies beside its file, with names made of it.
    left = [each for each in path.parent.iterdir() if each.name.lstrip(".#").startswith(f"{chat}.")]
    failed = _remove(left)
    if failed:
        raise Problem(
            "What was typed in this chat could not be deleted",
            f"{failed[0]}",
            f"Delete the files whose names begin with {chat} in {path.parent}.",
        )


def chats() -> set[str]:
    """Return the chats that something is kept of here."""
    names = {each.name.lstrip(".#").partition(".")[0] for each in folder().glob("*")} if folder().is_dir() else set()
    return {name for name in names if _NAME.fullmatch(name)} - {NEW}


def latest() -> tuple[str | None, float] | None:
    """Return the chat whose draft was written last, None for the one not begun yet, and when; None if there is none."""
    found = [(path.stem, _read(path).at) for path in folder().glob("*.json")]
    found = [(name, at) for name, at in found if at and _NAME.fullmatch(name)]
    if not found:
        return None
    name, at = max(found, key=lambda one: one[1])
    return (None if name == NEW else name), at


def _send_from_here(path: Path) -> None:
    """Have others know that what is queued in a draft is sent by this process, as long as it lives."""
    if path not in _to_send:
        lock = os.open(path.with_suffix(".next"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # Another one sends its own first.
            os.close(lock)
        else:
            _to_send[path] = lock


def _send_no_more(path: Path) -> None:
    lock = _to_send.pop(path, None)
    if lock is not None:
        path.with_suffix(".next").unlink(missing_ok=True)
        os.close(lock)


def _sent_elsewhere(path: Path) -> bool:
    """Say whether another process that lives is to send what is queued in a draft."""
    return path not in _to_send and lock_file.held(path.with_suffix(".next"))


def _path(chat: str | None) -> Path | None:
    """Return where a draft is kept, None for a chat whose id can be no file's name, or is that of the new one."""
    name = NEW if chat is None else chat
    return folder() / f"{name}.json" if _NAME.fullmatch(name) and chat != NEW else None


def _read(path: Path) -> Draft:
    try:
        return msgspec.json.decode(_bytes(path), type=Draft)
    except (OSError, msgspec.MsgspecError):
        return Draft()


def _bytes(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
        return opened.read(_LARGEST_BYTES)


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode("utf-8", "replace").removesuffix("\n")
    except OSError:
        return ""


def _storable(draft: Draft) -> Draft:
    return msgspec.structs.replace(
        draft,
        text=storable(draft.text),
        before=storable(draft.before),
        queued=tuple(storable(text) for text in draft.queued),
    )


def _remove(files: list[Path]) -> list[OSError]:
    failed = []
    for path in files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            failed.append(error)
    return failed
