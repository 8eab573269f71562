"""Checks of the installation: Python, the folders, the conversations, the settings, the way to a host."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from backends import paths
from backends.errors import Problem
from backends.shown import printable, shown_path
from backends.version import VERSION
from tui.chat.storing.store import Store
from tui.checks.check import Check, State
from tui.settings import load_settings, settings_file

SOCKET_PATH = 100
"""Bytes of a socket's path that every system takes: Linux allows 107, macOS 103."""


def python() -> Iterator[Check]:
    """The Python that this runs on. An older one than we need could not get here."""
    found = f"Python {platform.python_version()} in {printable(sys.prefix, 400)}; deepseek-tui {VERSION}"
    public = f"Python {platform.python_version()}; deepseek-tui {VERSION}"
    yield Check("python", "ok", found, public=public)


def folders() -> Iterator[Check]:
    """Where everything is kept must be writable, and private."""
    for name, folder in (
        ("conversations", paths.data()),
        ("state", paths.state()),
        ("settings", paths.config()),
        ("cache", paths.cache()),
    ):
        yield _folder(f"folder: {name}", folder, needed=name in {"conversations", "state"})


def _folder(name: str, folder: Path, *, needed: bool) -> Check:
    bad: State = "fail" if needed else "warn"
    shown, named = shown_path(folder), shlex.quote(str(folder))
    try:
        paths.private(folder)
        probe = folder / f".doctor-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
        info = folder.stat()
    except OSError as error:
        why = error.strerror or type(error).__name__
        fix = f"Check the owner and the free space: ls -ld {named}; df -h {named}"
        return Check(name, bad, f"{shown}: {why}", fix, "lost" if needed else "unknown", why)
    if info.st_uid != os.getuid():
        fix = f"sudo chown -R {os.getuid()} {named}"
        return Check(name, "warn", f"{shown} belongs to another user", fix, "exposed", "it belongs to another user")
    if stat.S_IMODE(info.st_mode) & 0o077:
        fix = f"chmod 700 {named}"
        return Check(name, "warn", f"{shown} can be read by others", fix, "exposed", "it can be read by others")
    return Check(name, "ok", f"{shown} is writable and private", public="it is writable and private")


def database() -> Iterator[Check]:
    """The conversations must open."""
    try:
        with contextlib.closing(Store()) as store:
            chats = store.count()
    except Problem as problem:
        yield Check("conversations", "fail", str(problem), problem.hint, "lost")
    else:
        counted = f"{chats} {'chat' if chats == 1 else 'chats'}"
        yield Check("conversations", "ok", f"{counted}; SQLite {sqlite3.sqlite_version}")


def settings() -> Iterator[Check]:
    """The settings must be readable."""
    try:
        load_settings()
    except Problem as problem:
        fix = problem.hint or f"Edit {shown_path(settings_file())}"
        key, line = getattr(problem, "key", ""), getattr(problem, "line", None)
        public = f"they cannot be used{f', line {line}' if line else ''}{f': {key}' if key.isidentifier() else ''}"
        yield Check("settings", "fail", problem.detail, fix, "no-start", public)
    else:
        there = settings_file().exists()
        found = shown_path(settings_file()) if there else "none; the defaults are used"
        yield Check("settings", "ok", found, public="a file of the user's" if there else found)


def sockets() -> Iterator[Check]:
    """A host's socket must be reachable, however long the home folder's path is."""
    length = len(os.fsencode(paths.hosts())) + len("/0123456789abcdef/socket")
    if length < SOCKET_PATH:
        yield Check("socket path", "ok", f"{length} bytes")
    elif Path("/proc/self/fd").is_dir():
        yield Check("socket path", "ok", f"{length} bytes: too long for a socket, so it goes by /proc/self/fd")
    else:
        found = f"{length} bytes are too long for a socket here"
        fix = "export DEEPSEEK_TUI_HOME=…   (a folder of your own with a shorter path)"
        yield Check("socket path", "fail", found, fix, "no-engine")
