"""Search in everything that was said and thought: all words wanted, newest message first."""

from __future__ import annotations

import sqlite3
import time
from typing import Literal

import msgspec

from tui.chat.searching import indexing, search_text
from tui.chat.searching.search_text import Term
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError

_AFTER_ALL = 2**62
_FIND = """
    SELECT indexed.place, message.id, message.conversation, conversation.title, message.role, message.created_at,
        message.text, message.reasoning
    FROM said CROSS JOIN indexed ON indexed.place = said.rowid
    CROSS JOIN message ON message.id = indexed.message
    CROSS JOIN conversation ON conversation.id = message.conversation
    WHERE said MATCH ?1 AND said.rowid < ?2 AND message.deleted_at IS NULL AND conversation.deleted_at IS NULL
        AND (?3 IS NULL OR conversation.id = ?3)
    ORDER BY said.rowid DESC LIMIT ?4
"""


class Hit(msgspec.Struct, frozen=True):
    """One message, or the title of one conversation, that holds all that was looked for.

    `message` is the conversation's head where its title was found. `marks` are the found parts of `snippet`, from and
    until. `place` is where the search goes on below it.
    """

    conversation: str
    title: str
    message: str | None
    role: Literal["system", "user", "assistant"] | None
    at: float
    where: Literal["text", "reasoning", "title"]
    snippet: str
    marks: tuple[tuple[int, int], ...]
    place: int | None


def search(
    store: Store, text: str, limit: int = 50, *, chat: str | None = None, before: int | None = None
) -> list[Hit]:
    """Return what holds all words of `text`, of which beginnings count, and all "phrases in quotes"; newest first.

    Titles that a person has given come first of all. `chat` searches in one conversation; `before` is the `place` of
    the last hit that is known already. Messages that are not indexed yet are not found: `complete` says so.
    Raises StoreError.
    """
    wanted = search_text.terms(text)
    if not wanted:
        return []
    if not complete(store):
        _step(store)
    patterns = search_text.patterns(wanted)
    titles = _titles(store, wanted, limit) if chat is None and before is None else []
    values = (search_text.query(wanted, chat), _AFTER_ALL if before is None else before, chat, limit - len(titles))
    try:
        rows = store.rows(_FIND, *values)
    except StoreError as error:
        if not indexing.damaged(error.__cause__):
            raise
        _make_anew(store)
        _step(store)
        rows = store.rows(_FIND, *values)
    return titles + [_hit(row, patterns) for row in rows]


def catch_up(store: Store, seconds: float) -> bool:
    """Index what is not indexed yet, for about so long; say whether all is. Others can write between the steps.

    Also takes the words of deleted messages out of the file. Raises StoreError.
    """
    until = time.monotonic() + seconds
    while _step(store):
        if time.monotonic() > until:
            return False
    return True


def complete(store: Store) -> bool:
    """Say whether every message is indexed, so that it can be found. Raises StoreError."""
    return not store.rows("SELECT 1 FROM indexing WHERE name = 'todo'")


def _step(store: Store) -> bool:
    """Do a part of what is left to do; say whether there may be more."""
    if not store.rows("SELECT 1 FROM indexing LIMIT 1"):
        return False
    try:
        with store.transaction() as db:
            return indexing.next_batch(db) or indexing.sweep(db)
    except StoreError as error:
        if not indexing.broken(error.__cause__):
            raise
        _make_anew(store)
        return True


def _make_anew(store: Store) -> None:
    with store.transaction() as db:
        indexing.make_anew(db)


def _titles(store: Store, wanted: list[Term], limit: int) -> list[Hit]:
    patterns = search_text.patterns(wanted)
    found = []
    for row in store.rows("SELECT * FROM conversation WHERE renamed AND deleted_at IS NULL ORDER BY updated_at DESC"):
        starts = search_text.starts(row["title"], patterns)
        if len(starts) == len(patterns):
            cut = search_text.snippet(row["title"], starts, patterns)
            found.append(
                Hit(row["id"], row["title"], row["head"], None, row["updated_at"], "title", cut.text, cut.marks, None)
            )
            if len(found) == limit:
                break
    return found


def _hit(row: sqlite3.Row, patterns: list[search_text.Pattern]) -> Hit:
    where: Literal["text", "reasoning"] = "text"
    starts = search_text.starts(row["text"], patterns)
    if len(starts) < len(patterns):
        thought = search_text.starts(row["reasoning"], patterns)
        if len(thought) > len(starts):
            where, starts = "reasoning", thought
    cut = search_text.snippet(row[where], starts, patterns)
    return Hit(
        row["conversation"],
        row["title"],
        row["id"],
        row["role"],
        row["created_at"],
        where,
        cut.text,
        cut.marks,
        row["place"],
    )
