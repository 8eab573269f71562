"""The schema of the conversation store: named steps, only ever appended."""

from __future__ import annotations

from typing import NamedTuple


class Migration(NamedTuple):
    """One step. Its place in `MIGRATIONS`, from 1, is the database's `user_version` once it has run."""

    name: str
    statements: tuple[str, ...]


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
)
