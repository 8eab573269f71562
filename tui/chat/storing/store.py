"""Conversations on disk: SQLite with a rollback journal, every commit synced before it counts.

A rollback journal and not WAL: SQLite before 3.51.3 can corrupt a WAL database that several processes open,
and a commit takes under a millisecond more, twice an answer.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from backends import paths
from backends.base import Partial
from backends.errors import EngineDied, Unreadable
from backends.events import Timings
from backends.shown import printable
from tui.chat.answer import Answer
from tui.chat.asking import Asking
from tui.chat.bill import Rates, own_cost
from tui.chat.searching import indexing
from tui.chat.storing import copying, held_file, receipts
from tui.chat.storing.migrations import MIGRATIONS
from tui.chat.storing.receipts import Receipt
from tui.chat.storing.stored import (
    Asked,
    Conversation,
    State,
    StoredMessage,
    StoreError,
    conversation_of,
    json_or_none,
    message_of,
    new_id,
    readable,
    storable,
    store_error,
)
from tui.chat.storing.writing import (
    chat_deleted,
    delete_messages,
    insert_answer,
    insert_conversation,
    insert_question,
    not_streaming,
    still_there,
)

BUSY_S = 10.0
CACHE_KIB = 16_000
SWEEP_S = 2.0
LONGEST_ID = 64


class Store:
    """The database. Methods block for milliseconds, may be called from any thread, and raise StoreError."""

    def __init__(self, path: Path | None = None, busy_s: float = BUSY_S, rates: Rates | None = None) -> None:
        """Open the conversations, made or migrated if need be; `busy_s` is how long to wait for another writer.

        `rates` are what energy costs that is taken in here.
        """
        self.path = path or paths.database()
        self.rates = rates or Rates()
        self._lock = threading.RLock()
        self._schema: int | None = None  # Any, until it is brought up.
        with self._errors():
            paths.private(self.path.parent)
            held_file.make(self.path)
            self._db = sqlite3.connect(self.path, timeout=busy_s, isolation_level=None, check_same_thread=False)
            self._file = held_file.HeldFile(self.path)
            self._db.row_factory = sqlite3.Row
            self._db.text_factory = readable
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA synchronous = EXTRA")
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._migrate()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # Reading.

    def conversations(
        self, limit: int = 200, offset: int = 0, *, archived: bool = False, before: Conversation | None = None
    ) -> list[Conversation]:
        """Return the conversations, pinned ones first, then last used first; those thrown away never.

        `archived` asks for those that were archived instead; `before` for what follows this one in the list.
        """
        rows = self.rows(
            """
            SELECT * FROM conversation
            WHERE deleted_at IS NULL AND (archived_at IS NOT NULL) = ?1
            AND (?2 IS NULL OR ((pinned_at IS NULL), -updated_at, id) > (?2, ?3, ?4))
            ORDER BY (pinned_at IS NULL), updated_at DESC, id LIMIT ?5 OFFSET ?6
            """,
            archived,
            *((before.pinned_at is None, -before.updated_at, before.id) if before else (None, None, None)),
            limit,
            offset,
        )
        return [conversation_of(row) for row in rows]

    def conversation(self, conversation: str) -> Conversation:
        """Return one conversation by its id or the beginning of it. Raises StoreError if there is not exactly one."""
        conversation = storable(conversation)
        rows = self.rows("SELECT * FROM conversation WHERE id = ? AND deleted_at IS NULL", conversation)
        if not rows and len(conversation) < LONGEST_ID:
            pattern = conversation.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            rows = self.rows(
                "SELECT * FROM conversation WHERE id LIKE ? ESCAPE '\\' AND deleted_at IS NULL LIMIT 2", pattern
            )
        if len(rows) != 1 or not conversation:
            what = "More than one chat begins so" if rows and conversation else "There is no such chat"
            raise StoreError(what, repr(printable(conversation)), "`deepseek-tui chats list` shows the ids.")
        return conversation_of(rows[0])

    def branch(self, conversation: str) -> list[StoredMessage]:
        """Return the messages of the branch that the conversation's head ends, first message first."""
        rows = self.rows(
            """
            WITH RECURSIVE up (number, parent) AS (
                SELECT message.rowid, message.parent FROM conversation JOIN message ON message.id = conversation.head
                WHERE conversation.id = ?
                UNION
                SELECT message.rowid, message.parent FROM up JOIN message ON message.id = up.parent
            )
            SELECT message.* FROM up CROSS JOIN message ON message.rowid = up.number
            """,
            conversation,
        )
        return [message_of(row) for row in reversed(rows)]  # The recursion goes from the head up.

    def count(self) -> int:
        """Return how many conversations there are, without those thrown away."""
        return int(self.rows("SELECT count(*) FROM conversation WHERE deleted_at IS NULL")[0][0])

    def branch_length(self, conversation: str) -> int:
        """Return how many messages `branch` has, without reading them."""
        rows = self.rows(
            """
            WITH RECURSIVE up (id) AS (
                SELECT head FROM conversation WHERE id = ?
                UNION
                SELECT message.parent FROM message JOIN up ON message.id = up.id
            )
            SELECT count(id) FROM up
            """,
            conversation,
        )
        return int(rows[0][0])

    def message(self, message: str) -> StoredMessage | None:
        rows = self.rows("SELECT * FROM message WHERE id = ?", message)
        return message_of(rows[0]) if rows else None

    def receipts(self, since: float | None = None, until: float | None = None) -> list[Receipt]:
        """Return what was taken from `since` on and before `until`, in Unix seconds, oldest first."""
        rows = self.rows(
            "SELECT * FROM receipt WHERE (?1 IS NULL OR at >= ?1) AND (?2 IS NULL OR at < ?2) ORDER BY at, id",
            since,
            until,
        )
        return [receipts.of_row(row) for row in rows]

    def receipts_of(self, conversation: str) -> list[Receipt]:
        """Return the receipts of one conversation, oldest first."""
        rows = self.rows("SELECT * FROM receipt WHERE conversation = ? ORDER BY at, id", conversation)
        return [receipts.of_row(row) for row in rows]

    def streaming(self) -> list[str]:
        """Return the ids of all answers that no one has finished yet."""
        return [row["id"] for row in self.rows("SELECT id FROM message WHERE state = 'streaming'")]

    def changes(self) -> int:
        """Return a number that differs after another process has changed the database."""
        return int(self.rows("PRAGMA data_version")[0][0])

    # Writing.

    def begin(
        self, answer: str, asked: Asked, text: str, conversation: str | None = None, asking: Asking | None = None
    ) -> StoredMessage:
        """Commit a question and the empty answer to it; return the answer's row.

        Without `conversation` one is started, which asks of its model what `asking` says.
        """
        now, question, text = time.time(), new_id(), storable(text)
        with self.transaction() as db:
            if conversation is None:
                conversation, head = insert_conversation(db, text, asked, asking, now), None
            else:
                found = db.execute(
                    "SELECT head FROM conversation WHERE id = ? AND deleted_at IS NULL", (conversation,)
                ).fetchone()
                if found is None:
                    raise chat_deleted(conversation)
                head = found["head"]
            insert_question(db, question, conversation, head, text, now)
            return insert_answer(db, answer, asked, conversation, question, now)

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
        with self.transaction() as db:
            for message, summary in (starts or {}).items():
                kept = None if summary is None else storable(summary)
                db.execute("UPDATE message SET context_start = ? WHERE id = ?", (kept, message))
            still_there(db, question)
            return insert_answer(db, answer, asked, question.conversation, question.id, time.time(), before)

    def finish(self, answer: str, result: Answer, ended_at: float | None = None) -> bool:
        """Commit an answer's end; say whether this call did it. Once it is finished, nothing changes it again.

        `ended_at` is when it came, in Unix seconds, where that was before now; never before it began, even if the clock
        was set back.
        """
        state: State = "interrupted"
        if result.failed is not None:
            state = "interrupted" if result.failed.kind in {EngineDied.kind, Unreadable.kind} else "failed"
        elif result.done is not None:
            state = "stopped" if result.done.reason == "stopped" else "done"
        done = result.done
        now = time.time()
        ended_at = now if ended_at is None else min(now, ended_at)
        cost = result.paid or own_cost(result.energy, result.timings, self.rates)
        with self.transaction() as db:
            changed = db.execute(
                "UPDATE message SET text = ?, reasoning = ?, state = ?, reason = ?, finished_at = max(created_at, ?),"
                " usage = ?, timings = ?, thought_s = ?, energy = ?, cost = ?, error = ?"
                " WHERE id = ? AND state = 'streaming'",
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
                indexing.index(db, [answer])
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
        with self.transaction() as db:
            if not db.execute("SELECT 1 FROM conversation WHERE id = ?", (one.conversation,)).fetchone():
                one = msgspec.structs.replace(one, conversation=None)
            return receipts.insert(db, one)

    def delete(self, conversation: str) -> list[str]:
        """Delete a conversation for good, with all its branches; return the ids of its messages.

        Raises StoreError if it is gone already or an answer in it is still being generated.
        """
        with self.transaction() as db:
            messages = not_streaming(db, conversation)
            delete_messages(db, self.path, messages)
            if not db.execute("DELETE FROM conversation WHERE id = ?", (conversation,)).rowcount:
                raise StoreError("There is no such chat", repr(conversation), "It was deleted already.")
        self.swept()
        return messages

    def swept(self, seconds: float = SWEEP_S) -> bool:
        """Rid the index of the words of what was deleted; say whether that was done within `seconds`.

        What cannot be done now is done later, and is no error: what was to be deleted is.
        """
        until = time.monotonic() + seconds
        with contextlib.suppress(StoreError):
            while time.monotonic() < until:
                with self.transaction() as db:
                    if not indexing.sweep(db):
                        return True
        return False

    # For the other rooms.

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Return what a query finds. Raises StoreError."""
        with self._errors():
            self._check()
            return self._db.execute(query, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the database for writing inside the block: all of it is committed and synced, or nothing."""
        with self._errors():
            self._file.check()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._check()
                yield self._db
                self._file.check()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # Inside.

    def _keep_receipt(self, db: sqlite3.Connection, row: StoredMessage, result: Answer, now: float) -> None:
        one = receipts.receipt(row.id, "answer", now, result.usage, result.timings, result.energy, row.cost)
        if one.says_something:
            where = {"conversation": row.conversation, "message": row.id, "preset": row.preset}
            receipts.insert(db, msgspec.structs.replace(one, **where, backend=row.backend, model=row.model))

    def _check(self) -> None:
        """Raise StoreError if the file is another one now, or a newer program has brought it up."""
        self._file.check()
        if self._schema is None:
            return
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version != self._schema:
            raise StoreError(
                "These conversations were changed by a newer deepseek-tui while they are open",
                f"{self.path} has schema {version}; this program knows {self._schema}.",
                "Leave and start again: what is being answered is kept.",
            )

    def _migrate(self) -> None:
        if self._known_version() < len(MIGRATIONS):
            self._bring_up()
        self._schema = len(MIGRATIONS)

    def _known_version(self) -> int:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise StoreError(
                "These conversations were written by a newer deepseek-tui",
                f"{self.path} has schema {version}; this program knows {len(MIGRATIONS)}.",
                "Update deepseek-tui, or set DEEPSEEK_TUI_HOME to use another folder.",
            )
        return version

    def _bring_up(self) -> None:
        with self.transaction() as db:
            # Another process may have migrated while this one waited for the lock.
            version = self._known_version()
            if 0 < version < len(MIGRATIONS):
                copying.copy(self.path, copying.before_migration(self.path, version))
            for number, migration in enumerate(MIGRATIONS[version:], version + 1):
                for statement in migration.statements:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")

    @contextlib.contextmanager
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
