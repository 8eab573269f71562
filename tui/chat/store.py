"""Conversations on disk: SQLite with a rollback journal, every commit synced before it counts.

A rollback journal and not WAL: SQLite before 3.51.3 can corrupt a WAL database that several processes open,
and a commit takes under a millisecond more, twice an answer.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from backends import paths
from backends.base import Partial
from backends.errors import EngineDied
from backends.events import Timings
from tui.chat import receipts
from tui.chat.answer import Answer
from tui.chat.bill import Rates, own_cost
from tui.chat.migrations import MIGRATIONS
from tui.chat.receipts import Receipt
from tui.chat.stored import (
    Asked,
    Conversation,
    State,
    StoredMessage,
    StoreError,
    json_or_none,
    message_of,
    new_id,
    storable,
    store_error,
    title_from,
)

BUSY_S = 10.0


class Store:
    """The database. Methods block for milliseconds, may be called from any thread, and raise StoreError."""

    def __init__(self, path: Path | None = None, busy_s: float = BUSY_S, rates: Rates | None = None) -> None:
        """Open the conversations, made or migrated if need be; `busy_s` is how long to wait for another writer.

        `rates` are what energy costs that is taken in here.
        """
        self.path = path or paths.database()
        self.rates = rates or Rates()
        self._lock = threading.RLock()
        with self._errors():
            paths.private(self.path.parent)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(self.path, timeout=busy_s, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA synchronous = EXTRA")
            self._migrate()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # Reading.

    def conversations(self, limit: int = 200) -> list[Conversation]:
        """Return the conversations, last used first."""
        rows = self._rows("SELECT * FROM conversation ORDER BY updated_at DESC, id LIMIT ?", limit)
        return [Conversation(**dict(row)) for row in rows]

    def conversation(self, conversation: str) -> Conversation:
        """Return one conversation by its id or the beginning of it. Raises StoreError if there is not exactly one."""
        pattern = conversation.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = self._rows("SELECT * FROM conversation WHERE id LIKE ? ESCAPE '\\' LIMIT 2", pattern)
        if len(rows) != 1 or not conversation:
            what = "There is no such chat" if not rows else "More than one chat begins so"
            raise StoreError(what, repr(conversation), "`deepseek-tui chats list` shows the ids.")
        return Conversation(**dict(rows[0]))

    def branch(self, conversation: str) -> list[StoredMessage]:
        """Return the messages of the branch that the conversation's head ends, first message first."""
        rows = self._rows(
            """
            WITH RECURSIVE up (id, depth) AS (
                SELECT head, 0 FROM conversation WHERE id = ?
                UNION ALL
                SELECT message.parent, up.depth + 1 FROM message JOIN up ON message.id = up.id
            )
            SELECT message.* FROM up JOIN message ON message.id = up.id ORDER BY up.depth DESC
            """,
            conversation,
        )
        return [message_of(row) for row in rows]

    def count(self) -> int:
        """Return how many conversations there are."""
        return int(self._rows("SELECT count(*) FROM conversation")[0][0])

    def branch_length(self, conversation: str) -> int:
        """Return how many messages `branch` has, without reading them."""
        rows = self._rows(
            """
            WITH RECURSIVE up (id) AS (
                SELECT head FROM conversation WHERE id = ?
                UNION ALL
                SELECT message.parent FROM message JOIN up ON message.id = up.id
            )
            SELECT count(id) FROM up
            """,
            conversation,
        )
        return int(rows[0][0])

    def message(self, message: str) -> StoredMessage | None:
        rows = self._rows("SELECT * FROM message WHERE id = ?", message)
        return message_of(rows[0]) if rows else None

    def receipts(self, since: float | None = None, until: float | None = None) -> list[Receipt]:
        """Return what was taken from `since` on and before `until`, in Unix seconds, oldest first."""
        rows = self._rows(
            "SELECT * FROM receipt WHERE (?1 IS NULL OR at >= ?1) AND (?2 IS NULL OR at < ?2) ORDER BY at, id",
            since,
            until,
        )
        return [receipts.of_row(row) for row in rows]

    def receipts_of(self, conversation: str) -> list[Receipt]:
        """Return the receipts of one conversation, oldest first."""
        rows = self._rows("SELECT * FROM receipt WHERE conversation = ? ORDER BY at, id", conversation)
        return [receipts.of_row(row) for row in rows]

    def streaming(self) -> list[str]:
        """Return the ids of all answers that no one has finished yet."""
        return [row["id"] for row in self._rows("SELECT id FROM message WHERE state = 'streaming'")]

    def changes(self) -> int:
        """Return a number that differs after another process has changed the database."""
        return int(self._rows("PRAGMA data_version")[0][0])

    # Writing.

    def begin(self, answer: str, asked: Asked, text: str, conversation: str | None = None) -> StoredMessage:
        """Commit a question and the empty answer to it; return the answer's row. Starts a conversation if None."""
        now, question, text = time.time(), new_id(), storable(text)
        with self._transaction() as db:
            if conversation is None:
                conversation, head = new_id(), None
                db.execute(
                    "INSERT INTO conversation VALUES (?, ?, ?, ?, ?, NULL)",
                    (conversation, title_from(text), now, now, asked.preset),
                )
            else:
                found = db.execute("SELECT head FROM conversation WHERE id = ?", (conversation,)).fetchone()
                if found is None:
                    raise StoreError("This chat was deleted", repr(conversation), "Start a new one.")
                head = found["head"]
            db.execute(
                "INSERT INTO message (id, conversation, parent, role, text, state, created_at)"
                " VALUES (?, ?, ?, 'user', ?, 'done', ?)",
                (question, conversation, head, text, now),
            )
            return self._insert_answer(db, answer, asked, conversation, question, now)

    def begin_again(
        self,
        answer: str,
        asked: Asked,
        question: StoredMessage,
        before: Partial | None,
        starts: Mapping[str, str | None] | None = None,
    ) -> StoredMessage:
        """Commit another answer to a question, beside those it has; `before` is what it goes on from.

        `starts` are the new values of `context_start` by message, committed together with it.
        """
        with self._transaction() as db:
            for message, summary in (starts or {}).items():
                kept = None if summary is None else storable(summary)
                db.execute("UPDATE message SET context_start = ? WHERE id = ?", (kept, message))
            if db.execute("SELECT 1 FROM message WHERE id = ?", (question.id,)).fetchone() is None:
                raise StoreError("This chat was deleted", repr(question.conversation), "Start a new one.")
            return self._insert_answer(db, answer, asked, question.conversation, question.id, time.time(), before)

    def finish(self, answer: str, result: Answer, ended_at: float | None = None) -> bool:
        """Commit an answer's end; say whether this call did it. Once it is finished, nothing changes it again.

        `ended_at` is when it came, in Unix seconds, where that was before now.
        """
        state: State = "interrupted"
        if result.failed is not None:
            state = "interrupted" if result.failed.kind == EngineDied.kind else "failed"
        elif result.done is not None:
            state = "stopped" if result.done.reason == "stopped" else "done"
        done = result.done
        now = time.time()
        ended_at = now if ended_at is None else min(now, ended_at)
        cost = result.paid or own_cost(result.energy, result.timings, self.rates)
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE message SET text = ?, reasoning = ?, state = ?, reason = ?, finished_at = ?, usage = ?,"
                " timings = ?, thought_s = ?, energy = ?, cost = ?, error = ? WHERE id = ? AND state = 'streaming'",
                (
                    storable(result.text),
                    storable(result.reasoning),
                    state,
                    done.reason if done else None,
                    ended_at,
                    json_or_none(done.usage if done else None),
                    json_or_none(done.timings if done else None),
                    result.thought_s,
                    json_or_none(result.energy),
                    json_or_none(cost),
                    json_or_none(result.failed),
                    answer,
                ),
            ).rowcount
            if changed:
                row = message_of(db.execute("SELECT * FROM message WHERE id = ?", (answer,)).fetchone())
                db.execute("UPDATE conversation SET updated_at = ? WHERE id = ?", (now, row.conversation))
                self._keep_receipt(db, row, result, ended_at)
        return changed > 0

    def keep(self, one: Receipt) -> bool:
        """Commit a receipt that belongs to no answer; say whether it is new and says something. Money is added.

        Of a chat that was deleted meanwhile the figures still count.
        """
        if one.cost is None and one.energy is not None:
            timings = Timings(one.load_s, one.prefill_s, one.decode_s)
            priced = own_cost(one.energy, timings, self.rates)
            again = receipts.receipt(one.id, one.kind, one.at, None, None, one.energy, priced)
            one = msgspec.structs.replace(one, money_nano=again.money_nano, currency=again.currency, cost=again.cost)
        if not one.says_something:
            return False
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM conversation WHERE id = ?", (one.conversation,)).fetchone():
                one = msgspec.structs.replace(one, conversation=None)
            return receipts.insert(db, one)

    def delete(self, conversation: str) -> list[str]:
        """Delete a conversation with all its branches; return the ids of its messages.

        Raises StoreError if it is gone already or an answer in it is still being generated.
        """
        with self._transaction() as db:
            rows = db.execute("SELECT id, state FROM message WHERE conversation = ?", (conversation,)).fetchall()
            if any(row["state"] == "streaming" for row in rows):
                raise StoreError(
                    "An answer in this chat is still being written",
                    repr(conversation),
                    "Stop it or wait for its end, then delete the chat.",
                )
            if not db.execute("DELETE FROM conversation WHERE id = ?", (conversation,)).rowcount:
                raise StoreError("There is no such chat", repr(conversation), "It was deleted already.")
        return [row["id"] for row in rows]

    # Inside.

    def _keep_receipt(self, db: sqlite3.Connection, row: StoredMessage, result: Answer, now: float) -> None:
        one = receipts.receipt(row.id, "answer", now, result.usage, result.timings, result.energy, row.cost)
        if one.says_something:
            where = {"conversation": row.conversation, "message": row.id, "preset": row.preset}
            receipts.insert(db, msgspec.structs.replace(one, **where, backend=row.backend, model=row.model))

    def _insert_answer(
        self,
        db: sqlite3.Connection,
        answer: str,
        asked: Asked,
        conversation: str,
        question: str,
        now: float,
        before: Partial | None = None,
    ) -> StoredMessage:
        text, reasoning = (before.text, before.reasoning) if before else ("", "")
        db.execute(
            "INSERT INTO message"
            " (id, conversation, parent, role, text, reasoning, state, preset, backend, model, created_at)"
            " VALUES (?, ?, ?, 'assistant', ?, ?, 'streaming', ?, ?, ?, ?)",
            (answer, conversation, question, text, reasoning, asked.preset, asked.backend, asked.model, now),
        )
        db.execute(
            "UPDATE conversation SET head = ?, updated_at = ?, preset = ? WHERE id = ?",
            (answer, now, asked.preset, conversation),
        )
        return message_of(db.execute("SELECT * FROM message WHERE id = ?", (answer,)).fetchone())

    def _migrate(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise StoreError(
                "These conversations were written by a newer deepseek-tui",
                f"{self.path} has schema {version}; this program knows {len(MIGRATIONS)}.",
                "Update deepseek-tui, or set DEEPSEEK_TUI_HOME to use another folder.",
            )
        if version == len(MIGRATIONS):
            return
        with self._transaction() as db:
            # Another process may have migrated while this one waited for the lock.
            version = db.execute("PRAGMA user_version").fetchone()[0]
            for number, migration in enumerate(MIGRATIONS[version:], version + 1):
                for statement in migration.statements:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._errors():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                raise store_error(self.path, error) from error
            except OSError as error:
                raise StoreError(
                    "The conversations cannot be written",
                    f"{self.path}: {error.strerror}",
                    "Check the folder's owner and the free space.",
                ) from error
