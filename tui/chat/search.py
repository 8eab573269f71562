"""Search in everything that was said and thought: all words wanted, newest message first."""

from __future__ import annotations

import sqlite3
import time
from typing import Literal

import msgspec

from tui.chat import indexing, search_text
from tui.chat.search_text import Term
from tui.chat.store import Store
from tui.chat.stored import StoreError

CATCH_UP_S = 0.2
_AFTER_ALL = 2**62


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
    catch_up(store, CATCH_UP_S)
    patterns = search_text.patterns(wanted)
    titles = _titles(store, wanted, limit) if chat is None and before is None else []
    rows = store.rows(
        """
        SELECT indexed.place, message.id, message.conversation, conversation.title, message.role, message.created_at,
            message.text, message.reasoning
        FROM said CROSS JOIN indexed ON indexed.place = said.rowid
        CROSS JOIN message ON message.id = indexed.message
        CROSS JOIN conversation ON conversation.id = message.conversation
        WHERE said MATCH ? AND said.rowid < ? AND message.deleted_at IS NULL AND conversation.deleted_at IS NULL
        ORDER BY said.rowid DESC LIMIT ?
        """,
        search_text.query(wanted, chat),
        _AFTER_ALL if before is None else before,
        limit - len(titles),
    )
    return titles + [_hit(row, patterns) for row in rows]


def catch_up(store: Store, seconds: float) -> bool:
    """Index what is not indexed yet, for about so long; say whether all is. Others can write between the steps.

    Also takes the words of deleted messages out of the file. Raises StoreError.
    """
    until = time.monotonic() + seconds
    while not complete(store):
        try:
            with store.transaction() as db:
                if not indexing.next_batch(db):
                    indexing.sweep(db)
        except StoreError as error:
            if not indexing.broken(error.__cause__):
                raise
            with store.transaction() as db:
                indexing.make_anew(db)
        if time.monotonic() > until:
            return complete(store)
    return True


def complete(store: Store) -> bool:
    """Say whether every message can be found, and nothing is left of those that were deleted."""
    return not store.rows("SELECT 1 FROM indexing LIMIT 1")


def _titles(store: Store, wanted: list[Term], limit: int) -> list[Hit]:
    patterns = search_text.patterns(wanted)
    found = []
    for row in store.rows("SELECT * FROM conversation WHERE renamed AND deleted_at IS NULL ORDER BY updated_at DESC"):
        if search_text.holds(row["title"], patterns) == len(patterns):
            cut = search_text.snippet(row["title"], patterns)
            found.append(
                Hit(row["id"], row["title"], row["head"], None, row["updated_at"], "title", cut.text, cut.marks, None)
            )
            if len(found) == limit:
                break
    return found


def _hit(row: sqlite3.Row, patterns: list[search_text.Pattern]) -> Hit:
    said, thought = search_text.holds(row["text"], patterns), search_text.holds(row["reasoning"], patterns)
    where: Literal["text", "reasoning"] = "reasoning" if thought > said else "text"
    cut = search_text.snippet(row[where], patterns)
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
