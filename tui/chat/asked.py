"""What was asked before, in whichever chat: it comes back by ↑, at the next start too.

One file for all screens, a question a line. Functions may be called from any thread and block for moments.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from backends import atomic, paths
from backends.errors import Problem
from tui.chat.storing.store import Store
from tui.chat.storing.stored import storable

MOST = 1000
MOST_BYTES = 2 * 1024 * 1024
LONGEST = 64 * 1024
"""Characters of a question that is kept here; a longer one is in its chat alone."""
FROM_STORE = 200
_LAST_QUESTIONS = (
    "SELECT text, conversation, id FROM message WHERE role = 'user' ORDER BY created_at DESC, rowid DESC LIMIT ?"
)
_THROWN_AWAY = (
    "SELECT id FROM conversation WHERE deleted_at IS NOT NULL"
    " UNION ALL SELECT id FROM message WHERE deleted_at IS NOT NULL AND role = 'user'"
)


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """One that was asked: as it was typed, and which message of which chat it became."""

    text: str
    chat: str = ""
    message: str = ""


def file() -> Path:
    """Where they are."""
    return paths.state() / "history.jsonl"


def load(store: Store) -> list[Question]:
    """Return what was asked, the last one last; where nothing was kept yet, begin with what the chats have.

    What was thrown away and can be taken back is left out. Raises Problem (StoreError).
    """
    if not file().exists():
        rows = store.rows(_LAST_QUESTIONS, FROM_STORE)
        first = [Question(row["text"], row["conversation"], row["id"]) for row in reversed(rows)]
        _change(lambda kept: kept or first)
    away = {row["id"] for row in store.rows(_THROWN_AWAY)}
    return [one for one in _read() if one.chat not in away and one.message not in away]


def add(question: Question) -> list[Question]:
    """Keep one more, and return all; the oldest make way. One asked twice in a row is kept once. Raises Problem."""
    if len(question.text) > LONGEST:
        return _read()
    question = msgspec.structs.replace(question, text=storable(question.text))
    return _change(lambda kept: [*(kept[:-1] if kept and kept[-1].text == question.text else kept), question])


def forget(chat: str, messages: Sequence[str] = ()) -> None:
    """Delete what was asked in a chat, "" for none, and of others those messages. Raises Problem."""
    gone = set(messages)
    if file().exists():
        _change(lambda kept: [one for one in kept if one.message not in gone and (not chat or one.chat != chat)])


def chats() -> set[str]:
    """Return the chats that something is kept of here."""
    return {one.chat for one in _read() if one.chat}


class Walk:
    """A walk through what was asked, from what is `typed`; what is changed on the way stays so until its end."""

    def __init__(self, texts: Sequence[str], typed: str) -> None:
        self._texts = [*_different(texts), typed]
        self._place = len(self._texts) - 1

    @property
    def typed(self) -> str:
        """What had been typed before."""
        return self._texts[-1]

    def to(self, step: int, text: str) -> str | None:
        """Go one back (-1) or on (1) from `text`, which stands there now; None where there is nothing more."""
        self._texts[self._place] = text
        place = self._place + step
        if not 0 <= place < len(self._texts):
            return None
        self._place = place
        return self._texts[place]


def _different(texts: Sequence[str]) -> list[str]:
    return [text for place, text in enumerate(texts) if text.strip() and (not place or texts[place - 1] != text)]


def _change(change: Callable[[list[Question]], list[Question]]) -> list[Question]:
    """Have the file hold what `change` makes of it, whatever others write meanwhile. Raises Problem."""
    try:
        with _locked():
            kept = _within(change(_read()))
            atomic.replace(file(), b"".join(msgspec.json.encode(one) + b"\n" for one in kept))
            return kept
    except OSError as error:
        raise Problem(
            "What was asked cannot be kept for ↑",
            f"{file()}: {error.strerror}",
            "It is in its chat all the same. Make room or check the folder's owner.",
        ) from error


def _within(kept: list[Question]) -> list[Question]:
    kept = kept[-MOST:]
    size = 0
    for place in range(len(kept) - 1, -1, -1):
        size += len(kept[place].text.encode())
        if size > MOST_BYTES:
            return kept[place + 1 :]
    return kept


def _read() -> list[Question]:
    """Return what there is; a line that is none is passed over."""
    try:
        with os.fdopen(os.open(file(), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
            lines = opened.read(4 * MOST_BYTES).splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            found.append(msgspec.json.decode(line, type=Question))
    return found


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    folder = paths.private(paths.state())
    descriptor = os.open(folder / "history.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
