"""Copies of the database: whole at any moment, also while others write, and for their owner alone."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

PAGES_AT_ONCE = 2_000


def copy(source: Path, target: Path, busy_s: float = 10.0) -> None:
    """Make `target` a copy of the database as it is at one moment. Raises OSError and sqlite3.DatabaseError.

    A file of that name is replaced once the copy is complete and on the disk.
    """
    half = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
    os.close(os.open(half, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=busy_s)) as a,
            contextlib.closing(sqlite3.connect(half)) as b,
        ):
            a.execute("BEGIN")  # One moment, whatever is written meanwhile.
            a.execute("SELECT count(*) FROM sqlite_master").fetchone()
            a.backup(b, pages=PAGES_AT_ONCE)
        _sync(half)
        half.replace(target)
        _sync(target.parent)
    finally:
        half.unlink(missing_ok=True)


def before_migration(path: Path, version: int) -> Path:
    """Return where the copy is that was made before a schema was brought up."""
    return path.with_name(f"{path.stem}.schema-{version}{path.suffix}")


def drop_old(path: Path) -> None:
    """Delete the copies made before migrations: they hold what is deleted now. Raises OSError."""
    for old in path.parent.glob(f"{path.stem}.schema-*{path.suffix}"):
        old.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
