"""Replacing a small file in one step: who reads it sees the old one or the new one, however the writer ends."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from backends.own_writes import own_writes


def replace(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file that only its owner may read. Raises OSError; then the old one is as it was.

    `durable` waits for the disk: it stands after a power cut too. A lock of the caller's keeps writers apart. What a
    killed one leaves has the name that the next one writes to.
    """
    temporary = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with own_writes():
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as opened:
                opened.write(content)
                if durable:
                    opened.flush()
                    os.fsync(opened.fileno())
            temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def put_new(temporary: Path, path: Path) -> None:
    """Give a whole file its name if nothing has it. Raises FileExistsError, and OSError for any other trouble."""
    try:
        # Unlike a rename it fails if another file has come meanwhile.
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # A file system without links.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        temporary.replace(path)
    else:
        temporary.unlink()


def sync_folder(folder: Path) -> None:
    """See that the names in a folder are safe on the disk, where the system can. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(PermissionError):
            os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network disks cannot
            raise
    finally:
        os.close(descriptor)
