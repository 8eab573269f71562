"""Copies of the database: whole at any moment, also while others write, and for their owner alone."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from backends import atomic

PAGES_AT_ONCE = 2_000
MOST_RESTARTS = 3


def copy(source: Path, target: Path, busy_s: float = 10.0) -> None:
    """Make `target` a copy of the database as it is at one moment. Raises OSError and sqlite3.DatabaseError.

    A file of that name is replaced once the copy is complete and on the disk.
    """
    half = target.with_name(f".{target.name[:40]}.{os.urandom(4).hex()}.part")
    os.close(os.open(half, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        try:
            _copy_pages(source, half, busy_s, hold=False)
        except _RestlessError:
            _copy_pages(source, half, busy_s, hold=True)
        _sync(half)
        half.replace(target)
        atomic.sync_folder(target.parent)
    finally:
        half.unlink(missing_ok=True)


def before_migration(path: Path, version: int) -> Path:
    """Return where the copy is that was made before a schema was brought up."""
    return path.with_name(f"{path.stem}.schema-{version}{path.suffix}")


def drop_old(path: Path) -> None:
    """Delete the copies made before migrations: they hold what is deleted now. Raises OSError.

    Also what is left of one whose program was killed. Who holds the database for writing knows that none is being made.
    """
    name = f"{path.stem}.schema-*{path.suffix}"
    for old in (*path.parent.glob(name), *path.parent.glob(f".{name}.*.part*")):
        old.unlink(missing_ok=True)


class _RestlessError(Exception):
    """The source is written again and again."""


def _copy_pages(source: Path, half: Path, busy_s: float, *, hold: bool) -> None:
    """Copy page by page. With `hold` nobody writes meanwhile; without, nobody waits, and each change begins it anew."""
    uri = f"{source.absolute().as_uri()}?mode=ro"
    left, restarts, moved_at = [2**62], 0, time.monotonic()

    def look(status: int, remaining: int, _total: int) -> None:
        nonlocal restarts, moved_at
        if status in {sqlite3.SQLITE_OK, sqlite3.SQLITE_DONE}:
            restarts += remaining > left[-1]
            left.append(remaining)
            moved_at = time.monotonic()
        if not hold and (restarts > MOST_RESTARTS or time.monotonic() - moved_at > busy_s):
            raise _RestlessError

    with (
        contextlib.closing(sqlite3.connect(uri, uri=True, timeout=busy_s, isolation_level=None)) as origin,
        contextlib.closing(sqlite3.connect(half)) as target,
    ):
        if hold:
            origin.execute("BEGIN")
            origin.execute("SELECT count(*) FROM sqlite_master").fetchone()
        origin.backup(target, pages=PAGES_AT_ONCE, progress=look, sleep=0.05)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
