"""The index of every word said and thought, kept in step with the messages inside the transactions that change them.

What cannot be indexed now is left for `catch_up`: an index that is behind or broken never costs anybody an answer.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence

import msgspec

from tui.chat.searching.search_text import split
from tui.chat.storing.migrations import SAID

BATCH_MESSAGES = 200
BATCH_CHARACTERS = 250_000
MERGE_PAGES = 300
_LAST_PLACE = 2**53
_PLACES_A_SECOND = 10  # Finer, and the numbers of neighbours are further apart: a larger index.
_OF_THE_INDEX = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR}
_FIELDS = "message.id, message.conversation, message.text, message.reasoning, message.created_at"


def index(db: sqlite3.Connection, messages: Sequence[str]) -> None:
    """Index messages that were just written, inside the transaction that wrote them."""
    _guarded(db, lambda: _add(db, _rows_of(db, messages)), lambda: later(db))


def later(db: sqlite3.Connection) -> None:
    """Let `next_batch` look for messages that are not indexed, from the newest on."""
    db.execute("INSERT OR REPLACE INTO indexing SELECT 'todo', max(rowid) FROM message HAVING count(*)")


def forget(db: sqlite3.Connection, messages: Sequence[str]) -> None:
    """Take messages out of the index, inside the transaction that deletes them and before it does.

    Their words are gone from the file once `sweep` has said so.
    """
    _guarded(db, lambda: _remove(db, messages), lambda: make_anew(db))


def next_batch(db: sqlite3.Connection) -> bool:
    """Index some of the newest messages that are not; say whether there may be more. Needs a transaction."""
    todo = _value(db, "todo")
    if todo is None:
        return False
    batch, characters, looked_at = [], 0, todo + 1
    for row in db.execute(
        f"SELECT message.rowid AS number, {_FIELDS}, message.state, indexed.place FROM message"  # noqa: S608
        " LEFT JOIN indexed ON indexed.message = message.id WHERE message.rowid <= ? ORDER BY message.rowid DESC",
        (todo,),
    ):
        looked_at = row["number"]
        if row["place"] is None and row["state"] != "streaming":
            batch.append(row)
            characters += len(row["text"]) + len(row["reasoning"])
            if len(batch) >= BATCH_MESSAGES or characters >= BATCH_CHARACTERS:
                break
    else:
        looked_at = 0
    _add(db, reversed(batch))
    if looked_at > 1:
        db.execute("UPDATE indexing SET value = ? WHERE name = 'todo'", (looked_at - 1,))
        return True
    db.execute("DELETE FROM indexing WHERE name = 'todo'")
    return False


def sweep(db: sqlite3.Connection) -> bool:
    """Take one step to rid the file of what was taken out of the index; say whether there is more to do."""
    if _value(db, "sweep") is None:
        return False
    before = db.total_changes
    # A negative number merges what has to be merged for the words to go, however little it is.
    db.execute("INSERT INTO said (said, rank) VALUES ('merge', ?)", (-MERGE_PAGES,))
    if db.total_changes - before >= 2:
        return True
    db.execute("DELETE FROM indexing WHERE name = 'sweep'")
    return False


def make_anew(db: sqlite3.Connection) -> None:
    """Begin with an empty index, inside a transaction; `next_batch` fills it."""
    db.execute("DROP TABLE said")
    db.execute("DELETE FROM indexed")
    db.execute("DELETE FROM indexing")
    db.execute(SAID)
    later(db)


def _add(db: sqlite3.Connection, rows: Iterable[sqlite3.Row]) -> None:
    placed = [(_place(db, row["id"], row["created_at"]), row) for row in rows]
    placed.sort(key=lambda pair: pair[0])  # FTS5 begins a new segment whenever a number is lower than the last.
    db.executemany(
        "INSERT INTO said (rowid, chat, text, reasoning) VALUES (?, ?, ?, ?)",
        ((place, row["conversation"], split(row["text"]), split(row["reasoning"])) for place, row in placed),
    )


def _remove(db: sqlite3.Connection, messages: Sequence[str]) -> None:
    rows = db.execute(
        "SELECT indexed.place, message.conversation, message.text, message.reasoning FROM indexed"
        " JOIN message ON message.id = indexed.message"
        " WHERE indexed.message IN (SELECT value FROM json_each(?)) ORDER BY indexed.place",
        (msgspec.json.encode(list(messages)).decode(),),
    ).fetchall()
    for row in rows:
        db.execute(
            "INSERT INTO said (said, rowid, chat, text, reasoning) VALUES ('delete', ?, ?, ?, ?)",
            (row["place"], row["conversation"], split(row["text"]), split(row["reasoning"])),
        )
        db.execute("DELETE FROM indexed WHERE place = ?", (row["place"],))
    if rows:
        db.execute("INSERT OR REPLACE INTO indexing VALUES ('sweep', 1)")


def _rows_of(db: sqlite3.Connection, messages: Sequence[str]) -> list[sqlite3.Row]:
    return [
        row
        for message in messages
        for row in db.execute(f"SELECT {_FIELDS} FROM message WHERE id = ?", (message,))  # noqa: S608
    ]


def _place(db: sqlite3.Connection, message: str, at: float) -> int:
    """Give a message its number, the first free one from its time on."""

    def taken(place: int) -> bool:
        return db.execute("SELECT 1 FROM indexed WHERE place = ?", (place,)).fetchone() is not None

    place = int(min(max(at * _PLACES_A_SECOND, 0), _LAST_PLACE)) if math.isfinite(at) else 0
    if taken(place):
        # Many may have come at one time: double the step to get out, then halve it to find the end of the row.
        step = 1
        while taken(place + step):
            step *= 2
        low, place = place + step // 2, place + step
        while place - low > 1:
            middle = (low + place) // 2
            low, place = (middle, place) if taken(middle) else (low, middle)
    db.execute("INSERT INTO indexed VALUES (?, ?)", (place, message))
    return place


def _value(db: sqlite3.Connection, name: str) -> int | None:
    row = db.execute("SELECT value FROM indexing WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row["value"])


def _guarded(db: sqlite3.Connection, work: Callable[[], None], otherwise: Callable[[], None]) -> None:
    """Do `work`; if the index is broken, undo it and do `otherwise`, so that the transaction can go on."""
    db.execute("SAVEPOINT indexing")
    try:
        work()
        db.execute("SAVEPOINT written")  # Makes FTS5 write now; else it would find out at the commit.
        db.execute("RELEASE written")
    except sqlite3.DatabaseError as error:
        if not db.in_transaction or not broken(error):
            raise
        db.execute("ROLLBACK TO indexing")
        otherwise()
    db.execute("RELEASE indexing")


def broken(error: BaseException | None) -> bool:
    """Say whether an error of indexing speaks of the index, and not of who may write, or of the room there is."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    return primary_code(error) in _OF_THE_INDEX


def damaged(error: BaseException | None) -> bool:
    """Say whether an error of searching says that the index cannot be read."""
    return isinstance(error, sqlite3.DatabaseError) and primary_code(error) == sqlite3.SQLITE_CORRUPT


def primary_code(error: sqlite3.DatabaseError) -> int | None:
    """Return what SQLite says that it was; None where it was Python that failed."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
