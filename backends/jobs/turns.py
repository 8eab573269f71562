"""One after the other: jobs that would be in each other's way, such as two downloads over one line."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from backends import paths
from backends.base import Cancel, Cancelled
from backends.errors import BackendError
from backends.jobs.files import jobs
from backends.jobs.report import Report
from backends.shown import shown_path

_LOOK_S = 0.2


@contextlib.contextmanager
def turn(name: str, report: Report, cancel: Cancel) -> Iterator[None]:
    """Wait until no other job of this user has the turn called `name`, and have it inside the block. Raises Cancelled.

    It ends with the process, however that ends.
    """
    file = jobs() / f"{name}.turn"
    try:
        paths.private(jobs())
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BackendError("The state folder cannot be used", f"{shown_path(file)}: {error.strerror}") from error
    try:
        while not _taken(descriptor):
            report.stage("queued", "Another one goes first.")
            if cancel.wait(_LOOK_S):
                raise Cancelled
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
