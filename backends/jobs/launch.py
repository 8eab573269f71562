"""Which jobs there are; beginning, watching and ending one. Everything is told by files: looking costs microseconds.

A job has no socket, because nothing is asked of it but to end: whoever looks reads its progress, however many look.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends import detached
from backends.errors import BackendError, ErrorInfo
from backends.jobs import files
from backends.jobs.job import JobSpec, JobView, Progress, State, key_of
from backends.shown import printable

END_S = 10.0
POLL_S = 0.25
_WAIT_S = 0.02

_children: list[subprocess.Popen[bytes]] = []


def survey() -> list[JobView]:
    """Look at all jobs of this user, also at those that have ended and were not forgotten; the newest last."""
    try:
        keys = [path.name for path in files.jobs().iterdir() if path.is_dir()]
    except OSError:
        return []
    reap()
    views = [found for key in keys if (found := view(key)) is not None]
    return sorted(views, key=lambda one: (one.progress.started_at, one.key))


def view(key: str) -> JobView | None:
    """Look at one job, None if there is none."""
    folder = files.jobs() / key
    spec = files.read_spec(folder)
    if spec is None:
        return None
    progress, state = _course(folder)
    running = state == "running"
    stopping = running and (folder / files.STOP).exists()
    if state == "interrupted":
        progress = msgspec.structs.replace(progress, error=_crash(folder, spec.title))
    return JobView(key, folder, files.read_pid(folder) if running else None, spec, progress, state, stopping)


def watch(key: str, poll_s: float = POLL_S) -> Iterator[JobView]:
    """Yield a job whenever it looks different, last as it ended. Ends at once where there is none. Blocks."""
    before = None
    while (now := view(key)) is not None:
        if now != before:
            yield now
            before = now
        if not now.running:
            return
        time.sleep(poll_s)


def start(spec: JobSpec) -> JobView:
    """Begin a job, unless one with this target runs already: then return that.

    What an earlier try has left is for the job's kind to go on with. Raises OSError if the state folder cannot be
    used, BackendError if no process can be started.
    """
    key = key_of(spec)
    folder = files.jobs() / key
    lock = _lock(folder)
    if lock is None:
        return view(key) or JobView(key, folder, None, spec, Progress(), "running")
    try:
        files.write_pid(lock, None)  # the number of the last one may be anybody's by now
        (folder / files.STOP).unlink(missing_ok=True)
        progress = Progress(started_at=time.time(), updated_at=time.time())
        files.replace(folder / files.SPEC, spec)
        files.replace(folder / files.PROGRESS, progress)
        child = _spawn(folder, lock)
        files.write_pid(lock, child.pid)
    finally:
        os.close(lock)
    reap()
    _children.append(child)
    return JobView(key, folder, child.pid, spec, progress, "running")


def stop(key: str, *, wait_s: float = END_S, force: bool = False) -> bool:
    """Ask a job to end, and wait so long until it has; say whether it is gone. What it has done so far stays.

    `force` kills a process that does not end in that time.
    """
    folder = files.jobs() / key
    if not files.alive(folder):
        return True
    with contextlib.suppress(OSError):
        (folder / files.STOP).touch(mode=0o600)
    if _gone(folder, wait_s):
        return True
    pid = files.read_pid(folder)
    if not force or pid is None or not files.alive(folder):
        return not files.alive(folder)
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    return _gone(folder, END_S)


def forget(key: str) -> bool:
    """Remove what is known of a job that has ended; say whether it is gone. What it made, or has begun, stays."""
    folder = files.jobs() / key
    if not folder.is_dir():
        return True
    lock = files.acquire(folder)
    if lock is None:
        return False
    try:
        files.remove(folder)
    finally:
        os.close(lock)
    return True


def reap() -> None:
    """Collect ended child processes."""
    _children[:] = [child for child in _children if child.poll() is None]


def _course(folder: Path) -> tuple[Progress, State]:
    """Return a job's progress and state; who reads while it begins or ends still gets what is true."""
    progress = files.read_progress(folder)
    if progress.state == "running" and not files.alive(folder):
        progress = files.read_progress(folder)  # it may have ended in between, or begun again
        if progress.state == "running" and not files.alive(folder):
            return progress, "stopped" if (folder / files.STOP).exists() else "interrupted"
    return progress, progress.state


def _crash(folder: Path, title: str) -> ErrorInfo | None:
    """Return why a process ended that said nothing in its progress: its last words, None where it had none."""
    from backends.host.client import last_words

    said = printable(last_words(folder), 300)
    hint = "Start it again; `deepseek-tui doctor` looks for the cause."
    return ErrorInfo("interrupted", f"{title}: its process ended by itself", said, hint) if said else None


def _lock(folder: Path) -> int | None:
    """Take the lock of a job; one that has said its last word is waited for."""
    deadline = time.monotonic() + END_S
    while True:
        lock = files.acquire(folder)
        if lock is not None:
            return lock
        if files.read_progress(folder).state == "running" or time.monotonic() > deadline:
            return None


def _spawn(folder: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start a job with the lock, to outlive the line; its output goes to a private log."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    log = os.open(folder / files.LOG, flags, 0o600)
    try:
        command = [sys.executable, "-P", "-m", "backends.jobs", str(folder), str(lock)]
        return detached.start(command, log, (lock,))
    except OSError as error:
        raise BackendError("No process can be started", str(error), "End what you do not need, then retry.") from error
    finally:
        os.close(log)


def _gone(folder: Path, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while files.alive(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(_WAIT_S)
    reap()
    return True
