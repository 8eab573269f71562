"""Taking in answers whose end nobody saw: each exactly once, from its spool."""

from __future__ import annotations

import contextlib
import time

import msgspec

from backends.events import Timings
from backends.host import spool, unclaimed
from tui.chat.answer import Answer, fold
from tui.chat.storing.receipts import receipt
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError, new_id, title_from
from tui.chat.storing.writing import insert_question

FOUND = "Found again:"
"""How the title of a chat begins that holds nothing but an answer whose own chat is gone."""
LOST_QUESTION = "(The question to this answer is lost: its chat was deleted or replaced before the answer was saved.)"


def take_in(store: Store, answer: str) -> bool:
    """Finish one answer from its spool if nobody writes it any more; say whether it is finished now.

    A spool with a last record makes it what that says; any other makes it interrupted, with all that was written.
    Raises StoreError.
    """
    try:
        return _take_in(store, answer)
    except OSError as error:
        raise StoreError(
            "An answer that was left behind cannot be taken in",
            f"{spool.path_of(answer)}: {error.strerror}",
            "Check the owner and the permissions of the file and its folder.",
        ) from error


def take_in_all(store: Store) -> list[str]:
    """Finish every answer that was left behind; return the ids of those still running, or that cannot be read.

    Raises StoreError for the conversations alone: one bad spool does not keep the others.
    """
    running = []
    for answer in store.streaming():
        try:
            finished = _take_in(store, answer)
        except OSError:
            finished = False
        if not finished:
            running.append(answer)
    for answer in spool.answers():
        with contextlib.suppress(OSError):
            _tidy(store, answer)
    for one in unclaimed.waiting():
        # Kept first: killed in between, it is found again, and is the same receipt.
        kept = receipt(one.id, "loading", one.at, None, Timings(load_s=one.load_s), one.energy, None)
        store.keep(msgspec.structs.replace(kept, preset=one.preset or None, backend=one.backend, model=one.model))
        unclaimed.forget(one)
    return running


def _take_in(store: Store, answer: str) -> bool:
    if spool.running(answer):
        return False
    row = store.message(answer)
    if row is None or row.state != "streaming":
        _tidy(store, answer)
        return True
    with spool.claim(answer) as claimed:
        if not claimed and spool.path_of(answer).exists():
            return False
        result = fold(spool.read(answer), row.partial) if claimed else Answer(row.partial)
        store.finish(answer, result, spool.written_at(answer) if claimed else None)
        spool.remove(answer)
    return True


def _tidy(store: Store, answer: str) -> None:
    """Delete a spool that nobody writes and that has nothing which the store has not. Raises OSError, StoreError.

    One of a row that is finished: its client died before it was deleted. One without a row and without a word: its
    client died before the question was committed. One without a row, with words: a question is committed before it is
    sent, so the row was there, and the database is another now. The words go into a chat of their own.
    """
    # The lock comes first: a row that is missing while nobody holds the spool will not come any more.
    with spool.claim(answer) as claimed:
        row = store.message(answer) if claimed else None
        if not claimed or (row is not None and row.state == "streaming"):
            return
        if row is None:
            found = fold(spool.read(answer))
            if found.text or found.reasoning:
                _adopt(store, answer, found)
        spool.remove(answer)


def _adopt(store: Store, answer: str, found: Answer) -> None:
    """Put an answer whose chat is gone into a chat of its own; it can be gone on with like any other."""
    chat, question, at = new_id(), new_id(), spool.written_at(answer) or time.time()
    title = title_from(f"{FOUND} {found.text or found.reasoning}")
    with store.transaction() as db:
        db.execute(
            "INSERT INTO conversation (id, title, created_at, updated_at) VALUES (?, ?, ?, ?)", (chat, title, at, at)
        )
        insert_question(db, question, chat, None, LOST_QUESTION, at)
        db.execute(
            "INSERT INTO message (id, conversation, parent, role, text, state, created_at)"
            " VALUES (?, ?, ?, 'assistant', '', 'streaming', ?)",
            (answer, chat, question, at),
        )
        db.execute("UPDATE conversation SET head = ? WHERE id = ?", (answer, chat))
    store.finish(answer, found, at)
