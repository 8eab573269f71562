"""Looking after the conversations: whether all is well, putting right what is not, and copies to keep."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from backends import chat_states, paths
from backends.host import spool
from tui.chat import recovery
from tui.chat.searching import indexing, search
from tui.chat.storing import copying, forgetting, salvage
from tui.chat.storing.migrations import MIGRATIONS
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError, readable, store_error

BUSY_S = 10.0
_MOST_LINES = 20

Kind = Literal[
    "damaged",
    "newer_schema",
    "older_schema",
    "garbled",
    "reference",
    "unreachable",
    "head",
    "not_indexed",
    "index",
    "spool",
    "state",
    "open",
]
"""What is wrong: pages of the file; a schema of another version; texts that are none; a row that names one that is not
there; messages that no way leads to; chats without a last message; messages that search does not find; an index that
holds what it should not; spools of no answer; warm states of no chat; files that others may read."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong, how often, and what there is to know."""

    kind: Kind
    count: int
    detail: str


class Report(msgspec.Struct, frozen=True):
    """What a look at the conversations found. Figures are None where they cannot be had.

    `copies` are files beside the database that hold conversations too, also those deleted since.
    """

    path: str
    schema: int | None
    conversations: int | None
    messages: int | None
    size_bytes: int
    findings: tuple[Finding, ...]
    copies: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing has to be done: an older schema is brought up by itself."""
        return all(finding.kind == "older_schema" for finding in self.findings)


class Repaired(msgspec.Struct, frozen=True):
    """What a repair did: the reports of before and after, where the file of before is kept, what could not be read."""

    before: Report
    after: Report
    kept: str | None
    textless: int


def check(path: Path | None = None) -> Report:
    """Look at the conversations; change nothing. Raises StoreError if there are none, or they are locked."""
    path = path or paths.database()
    if not path.exists():
        raise StoreError("There are no conversations yet", str(path), "")
    findings = []
    if readable := _open_files(path):
        names = [str(each) if each.is_dir() else each.name for each in readable[:_MOST_LINES]]
        findings.append(Finding("open", len(readable), ", ".join(names)))
    schema = conversations = messages = None
    with _connection(path) as db:
        try:
            schema = db.execute("PRAGMA user_version").fetchone()[0]
            conversations = _count(db, "conversation")
            messages = _count(db, "message")
            findings += _damage(db)
            if schema == len(MIGRATIONS):
                findings += _inside(db)
                findings += _spools(db)
                findings += _states(db)
            else:
                kind: Kind = "newer_schema" if schema > len(MIGRATIONS) else "older_schema"
                findings.append(Finding(kind, 1, f"schema {schema}; this program knows {len(MIGRATIONS)}"))
        except salvage.DAMAGE as error:
            if isinstance(error, sqlite3.DatabaseError) and not _of_damage(error):
                raise store_error(path, error) from error
            if not any(finding.kind == "damaged" for finding in findings):
                findings.append(Finding("damaged", 1, str(error)))
    return Report(
        str(path), schema, conversations, messages, path.stat().st_size, tuple(findings), tuple(map(str, copies(path)))
    )


def repair(path: Path | None = None) -> Repaired:
    """Put right what is wrong, after a copy was made of the file as it is. Raises StoreError.

    Of a damaged file what can be read goes into a new one, and the old one is kept under another name.
    """
    path = path or paths.database()
    before = check(path)
    if not before.findings:
        return Repaired(before, before, None, 0)
    kinds = {finding.kind for finding in before.findings}
    if "newer_schema" in kinds:
        Store(path).close()  # Says so.
    kept, textless = None, 0
    try:
        for each in _open_files(path):
            each.chmod(0o700 if each.is_dir() else 0o600)
        if kinds - {"older_schema", "open", "spool", "state"}:
            kept = _free_name(path, "before-repair")
            if "damaged" in kinds:
                textless = _rebuild(path, kept)
            else:
                copying.copy(path, kept)
        store = Store(path)
        try:
            with _unchecked(store) as db:
                salvage.mend(db)
                if kinds & {"damaged", "index"}:
                    indexing.make_anew(db)
                else:
                    indexing.later(db)
            search.catch_up(store, float("inf"))
            recovery.take_in_all(store)
            for chat in forgetting.left(store):
                chat_states.forget(chat)
        finally:
            store.close()
    except OSError as error:
        raise StoreError("The conversations cannot be repaired", f"{error}", "Make room or check the owner.") from error
    except sqlite3.DatabaseError as error:
        raise store_error(path, error) from error
    return Repaired(before, check(path), str(kept) if kept else None, textless)


def backup(store: Store, target: Path) -> None:
    """Make a copy of the conversations as they are at this moment, also while answers stream. Raises StoreError.

    It is for its owner alone. A file of that name is replaced only when the copy is complete.
    """
    try:
        if target.exists() and target.samefile(store.path):
            raise StoreError("A copy cannot take the place of the conversations", str(target), "Name another file.")
        copying.copy(store.path, target)
    except sqlite3.DatabaseError as error:
        raise store_error(store.path, error) from error
    except OSError as error:
        hint = "Make room, or name a file in a folder that can be written."
        raise StoreError("The copy cannot be written", f"{target}: {error.strerror}", hint) from error


def copies(path: Path) -> list[Path]:
    """Return the files beside the database that hold conversations too.

    They were made before a migration or a repair, or are what a repair or a copy left that was killed.
    """
    patterns = [f"{path.stem}.{what}-*{path.suffix}" for what in ("schema", "before-repair", "new")]
    return sorted(each for pattern in [*patterns, f".{path.stem}.*.part"] for each in path.parent.glob(pattern))


def _count(db: sqlite3.Connection, table: Literal["conversation", "message"]) -> int | None:
    try:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608
    except salvage.DAMAGE as error:
        if isinstance(error, sqlite3.DatabaseError) and not _of_damage(error):
            raise
        return None  # A newer schema may have no such table either.


def _damage(db: sqlite3.Connection) -> Iterator[Finding]:
    lines = [row[0] for row in db.execute(f"PRAGMA integrity_check({_MOST_LINES})")]
    # Newer versions look into the index too; that is no damage of the file.
    lines = [line for line in lines if line != "ok" and "fts5" not in line.lower()]
    if lines:
        yield Finding("damaged", len(lines), "; ".join(lines))


def _inside(db: sqlite3.Connection) -> Iterator[Finding]:
    garbled = list(salvage.garbled(db))
    if garbled:
        places = [f"{table} {number}: {column}" for table, number, column, _ in garbled[:_MOST_LINES]]
        yield Finding("garbled", len(garbled), ", ".join(places))
    broken = db.execute("PRAGMA foreign_key_check").fetchall()
    if broken:
        tables = sorted({f"{row['table']} → {row['parent']}" for row in broken})
        yield Finding("reference", len(broken), ", ".join(tables))
    lost = salvage.unreachable(db)
    if lost:
        yield Finding("unreachable", len(lost), ", ".join(row["id"] for row in lost[:_MOST_LINES]))
    headless = db.execute(salvage.HEADLESS).fetchall()
    if headless:
        yield Finding("head", len(headless), ", ".join(row["id"] for row in headless[:_MOST_LINES]))
    yield from _index(db)


def _index(db: sqlite3.Connection) -> Iterator[Finding]:
    if db.execute("SELECT 1 FROM indexing WHERE name = 'todo'").fetchone() is None:
        missing = db.execute(
            "SELECT count(*) FROM message WHERE state != 'streaming'"
            " AND NOT EXISTS (SELECT 1 FROM indexed WHERE message = message.id)"
        ).fetchone()[0]
        if missing:
            yield Finding("not_indexed", missing, "messages that search does not find")
    try:
        wrong = db.execute(
            "SELECT (SELECT count(*) FROM said_docsize WHERE id NOT IN (SELECT place FROM indexed))"
            " + (SELECT count(*) FROM indexed WHERE place NOT IN (SELECT id FROM said_docsize))"
        ).fetchone()[0]
        if wrong:
            yield Finding("index", wrong, "messages that are in the index and not in the store, or the other way round")
        with contextlib.suppress(sqlite3.OperationalError):  # It cannot be written, so this cannot be looked at.
            db.execute("BEGIN IMMEDIATE")
            try:
                db.execute("INSERT INTO said (said) VALUES ('integrity-check')")
            finally:
                db.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        yield Finding("index", 1, str(error))


def _spools(db: sqlite3.Connection) -> Iterator[Finding]:
    """Spools that no running answer has: of none that is known, or of one that is finished."""
    loose = []
    for answer in spool.answers():
        row = db.execute("SELECT state FROM message WHERE id = ?", (answer,)).fetchone()
        with contextlib.suppress(OSError):
            if (row is None or row["state"] != "streaming") and not spool.running(answer):
                loose.append(answer)
    if loose:
        yield Finding("spool", len(loose), ", ".join(loose[:_MOST_LINES]))


def _states(db: sqlite3.Connection) -> Iterator[Finding]:
    """Warm states of chats that are gone."""
    known = "SELECT 1 FROM conversation WHERE id = ?"
    loose = [chat for chat in sorted(chat_states.chats()) if not db.execute(known, (chat,)).fetchone()]
    if loose:
        yield Finding("state", len(loose), ", ".join(loose[:_MOST_LINES]))


def _open_files(path: Path) -> list[Path]:
    """Return what others may read of all files that hold what was said, and of their folders."""
    found = []
    kept = [folder for folder in (paths.spools(), paths.chat_states()) if folder.is_dir()]
    inside = [each for folder in kept for each in folder.iterdir() if not each.is_symlink()]
    for each in (path, *_beside(path), path.parent, *kept, *inside):
        with contextlib.suppress(FileNotFoundError):
            if each.stat().st_mode & 0o077:
                found.append(each)
    return found


def _beside(path: Path) -> list[Path]:
    journal = path.with_name(path.name + "-journal")
    return [*copies(path), *([journal] if journal.exists() else [])]


def _rebuild(path: Path, kept: Path) -> int:
    """Carry what can be read of a damaged file over into a new one, which takes its place; keep the old one."""
    fresh, scratch = _free_name(path, "new"), _free_name(path, "new-uncut")
    # Before the lock: to close a file that is open elsewhere in this process would free its locks.
    _keep(path, kept)
    try:
        source = scratch if salvage.uncut(path, scratch) else path
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as damaged:
            try:
                # Nobody else writes now; those who have it open find it moved at their next commit, and say so.
                damaged.execute("BEGIN EXCLUSIVE")
            except sqlite3.DatabaseError as error:
                if not _of_damage(error):
                    raise
            store = Store(fresh)
            try:
                with _unchecked(store) as db, contextlib.closing(sqlite3.connect(source)) as uncut:
                    textless = salvage.carry_over(damaged if source == path else uncut, db)
                    salvage.mend(db)
            finally:
                store.close()
            path.with_name(path.name + "-journal").unlink(missing_ok=True)
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
        scratch.unlink(missing_ok=True)
        if kept.samefile(path):  # Nothing took its place.
            kept.unlink()
    return textless


def _keep(path: Path, kept: Path) -> None:
    """Give a file a second name; where there are no such links, copy it."""
    try:
        os.link(path, kept)
    except OSError:
        shutil.copyfile(path, kept)
    kept.chmod(0o600)


@contextlib.contextmanager
def _unchecked(store: Store) -> Iterator[sqlite3.Connection]:
    """Hold the store for writing while references may be broken."""
    store.rows("PRAGMA foreign_keys = OFF")
    try:
        with store.transaction() as db:
            yield db
    finally:
        store.rows("PRAGMA foreign_keys = ON")


@contextlib.contextmanager
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    uri = f"{path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}"
    try:
        db = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    except sqlite3.DatabaseError as error:
        raise store_error(path, error) from error
    with contextlib.closing(db):
        db.row_factory = sqlite3.Row
        db.text_factory = readable
        yield db


def _free_name(path: Path, what: str) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        name = path.with_name(f"{path.stem}.{what}-{stamp}{f'-{number}' if number > 1 else ''}{path.suffix}")
        if not name.exists():
            return name
    raise StoreError("There are too many copies of the conversations", str(path.parent), "Delete some of them.")


def _of_damage(error: sqlite3.DatabaseError) -> bool:
    """Say whether an error speaks of the file's content, and not of who may use it now."""
    return indexing.primary_code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
