"""The schema of the conversation store: named steps, only ever appended."""

from __future__ import annotations

from typing import NamedTuple


class Migration(NamedTuple):
    """One step. Its place in `MIGRATIONS`, from 1, is the database's `user_version` once it has run."""

    name: str
    statements: tuple[str, ...]


# No text of its own (`content=''`), and nothing that an older SQLite cannot read: not contentless_delete, which needs
# 3.43, nor 'secure-delete', which marks the index as unreadable for those before 3.42.
SAID = """
    CREATE VIRTUAL TABLE said
    USING fts5(chat, text, reasoning, content='', tokenize='unicode61 remove_diacritics 2', prefix='2 3')
"""

MIGRATIONS = (
    Migration(
        "conversations as a tree of messages",
        (
            """
            CREATE TABLE conversation (
                id TEXT PRIMARY KEY,
                title TEXT NOT NULL,
                created_at REAL NOT NULL,
                updated_at REAL NOT NULL,
                preset TEXT,
                head TEXT REFERENCES message (id) DEFERRABLE INITIALLY DEFERRED
            ) STRICT
            """,
            """
            CREATE TABLE message (
                id TEXT PRIMARY KEY,
                conversation TEXT NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
                parent TEXT REFERENCES message (id) ON DELETE CASCADE,
                role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
                text TEXT NOT NULL,
                reasoning TEXT NOT NULL DEFAULT '',
                state TEXT NOT NULL CHECK (state IN ('streaming', 'done', 'stopped', 'interrupted', 'failed')),
                reason TEXT,
                preset TEXT,
                backend TEXT,
                model TEXT,
                created_at REAL NOT NULL,
                finished_at REAL,
                usage TEXT,
                timings TEXT,
                thought_s REAL,
                energy TEXT,
                cost TEXT,
                error TEXT
            ) STRICT
            """,
            "CREATE INDEX message_by_conversation ON message (conversation, created_at)",
            "CREATE INDEX message_by_parent ON message (parent)",
            "CREATE INDEX message_streaming ON message (state) WHERE state = 'streaming'",
            "CREATE INDEX conversation_by_age ON conversation (updated_at DESC)",
        ),
    ),
    Migration(
        # On the message from which sending to the model begins: the summary that stands for what came before, or ''.
        "where sending to the model begins",
        ("ALTER TABLE message ADD COLUMN context_start TEXT",),
    ),
    Migration(
        "receipts",
        (
            """
            CREATE TABLE receipt (
                id TEXT PRIMARY KEY,
                kind TEXT NOT NULL CHECK (kind IN ('answer', 'summary', 'loading')),
                at REAL NOT NULL,
                conversation TEXT REFERENCES conversation (id) ON DELETE SET NULL,
                message TEXT REFERENCES message (id) ON DELETE SET NULL,
                preset TEXT,
                backend TEXT,
                model TEXT,
                prompt_tokens INTEGER,
                cached_tokens INTEGER,
                reasoning_tokens INTEGER,
                output_tokens INTEGER,
                load_s REAL,
                prefill_s REAL,
                decode_s REAL,
                energy_uj INTEGER,
                idle_uj INTEGER,
                energy TEXT,
                money_nano INTEGER,
                currency TEXT,
                cost TEXT
            ) STRICT
            """,
            "CREATE INDEX receipt_by_time ON receipt (at)",
            "CREATE INDEX receipt_by_conversation ON receipt (conversation)",
            "CREATE INDEX receipt_by_message ON receipt (message)",
            # Answers from before receipts: their tokens and times were kept with them. The casts take what no column
            # would hold, for a server may have claimed anything.
            """
            INSERT INTO receipt (
                id, kind, at, conversation, message, preset, backend, model, prompt_tokens, cached_tokens,
                reasoning_tokens, output_tokens, load_s, prefill_s, decode_s, money_nano, currency, cost
            )
            SELECT
                id, 'answer', COALESCE(finished_at, created_at), conversation, id, preset, backend, model,
                CAST(json_extract(usage, '$.prompt_tokens') AS INTEGER),
                CAST(json_extract(usage, '$.cached_tokens') AS INTEGER),
                CAST(json_extract(usage, '$.reasoning_tokens') AS INTEGER),
                CAST(json_extract(usage, '$.output_tokens') AS INTEGER),
                CAST(json_extract(timings, '$.load_s') AS REAL), CAST(json_extract(timings, '$.prefill_s') AS REAL),
                CAST(json_extract(timings, '$.decode_s') AS REAL),
                CAST(ROUND(json_extract(cost, '$.amount') * 1e9) AS INTEGER), json_extract(cost, '$.currency'), cost
            FROM message
            WHERE role = 'assistant' AND state != 'streaming' AND usage IS NOT NULL
            """,
        ),
    ),
    Migration(
        # `indexed` says which messages `said` holds, and under which number: their time in tenths of a second, so
        # that the newest is found first. `indexing` holds what is left to do: "todo" is the last rowid that may not be
        # indexed yet, "sweep" says that words of deleted messages are still in the index.
        "a shelf for conversations, messages thrown away, and an index of every word",
        (
            "ALTER TABLE conversation ADD COLUMN pinned_at REAL",
            "ALTER TABLE conversation ADD COLUMN archived_at REAL",
            "ALTER TABLE conversation ADD COLUMN deleted_at REAL",
            "ALTER TABLE conversation ADD COLUMN renamed INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE message ADD COLUMN deleted_at REAL",
            "DROP INDEX conversation_by_age",
            """
            CREATE INDEX conversation_listed
            ON conversation ((archived_at IS NOT NULL), (pinned_at IS NULL), updated_at DESC, id)
            WHERE deleted_at IS NULL
            """,
            "CREATE INDEX conversation_renamed ON conversation (updated_at DESC) WHERE renamed",
            "CREATE INDEX conversation_thrown_away ON conversation (deleted_at) WHERE deleted_at IS NOT NULL",
            "CREATE INDEX message_thrown_away ON message (deleted_at) WHERE deleted_at IS NOT NULL",
            """
            CREATE TABLE indexed (
                place INTEGER PRIMARY KEY,
                message TEXT NOT NULL UNIQUE REFERENCES message (id) ON DELETE CASCADE
            ) STRICT
            """,
            "CREATE TABLE indexing (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT",
            "INSERT INTO indexing SELECT 'todo', max(rowid) FROM message HAVING count(*)",
            SAID,
        ),
    ),
    Migration(
        # JSON, NULL where a chat asks nothing of its own.
        "what a chat asks of its model in place of its preset",
        ("ALTER TABLE conversation ADD COLUMN asking TEXT",),
    ),
)
