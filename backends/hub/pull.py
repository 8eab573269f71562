"""The job that fetches a model: a file, all parts of a split one, or a model folder.

Everything is fetched under other names first; the file that makes it a model gets its own name last. So whenever the
job ends, a model is there whole and verified, or not at all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from backends.base import Cancel
from backends.hub import failures
from backends.hub.address import endpoint, offline
from backends.hub.checksum import Follower
from backends.hub.connection import Connection
from backends.hub.download import Download
from backends.hub.listing import Entry, below, entries, safe_place
from backends.hub.part import Part, tidy
from backends.hub.patience import Patience
from backends.hub.wanted import STAYS_FREE_BYTES, Pull, part_path
from backends.jobs.report import Report
from backends.jobs.turns import turn

SILENCE_S = 30.0


def run(work: dict[str, Any], report: Report, cancel: Cancel) -> str:
    """Fetch a model; return the path of its file or folder. Raises BackendError, and Cancelled."""
    pull = msgspec.convert(work, Pull)
    file, folder = pull.file, Path(pull.folder)
    if file.file.strip("/"):
        safe_place(file.file.removesuffix("/"))
    if variable := offline():
        raise failures.switched_off(variable, file)
    server = endpoint()
    with Connection(server, None, cancel, SILENCE_S) as connection:
        patience = Patience(connection, report, cancel, pull.patience_s)
        wanted = patience.tried(lambda: entries(connection, server, file), "asking")
        if pull.sha256:
            wanted = _pinned(wanted, pull, server)
        report.total(sum(entry.identity.size for entry in wanted))
        report.jump(sum(_lying(entry, folder) for entry in wanted))  # while it is queued
        with turn("pull", report, cancel):
            report.stage("checking")
            missing = _missing(wanted, folder, cancel)
            _fetch(wanted, missing, pull, Download(connection, server, patience, report, cancel), report)
    unverified = sum(not entry.identity.hashed[0] for entry in wanted)
    report.stage("done", "The server names no hash: only the length could be checked." if unverified else "Verified.")
    place = below(folder, wanted[-1].place)
    return str(place.parent if not file.file or file.file.endswith("/") else place)


def _fetch(wanted: Sequence[Entry], missing: Sequence[Entry], pull: Pull, download: Download, report: Report) -> None:
    """Fetch what is missing under other names, then give each its own. Raises BackendError, and Cancelled."""
    folder = Path(pull.folder)
    begun = {entry.place: _begun(entry, folder) for entry in missing}
    here = sum(entry.identity.size for entry in wanted)
    to_come = sum(entry.identity.size - begun[entry.place] for entry in missing)
    here -= to_come
    report.jump(here)
    _check_space(folder, to_come, force=pull.force)
    parts = []
    for entry in missing:
        part = Part(below(folder, entry.place), entry.identity)
        try:
            download.fetch(entry, part, here - begun[entry.place])
        finally:
            part.close()
        here += entry.identity.size - begun[entry.place]
        parts.append(part)
    report.stage("finishing")
    for entry, part in zip(missing, parts, strict=True):
        if os.path.lexists(part.place):  # somebody has put it there meanwhile
            raise failures.in_the_way(entry.file, part.place)
        part.finish()


def _lying(entry: Entry, folder: Path) -> int:
    """Return how much seems to be here of a file. What it is of is looked at when nobody else is at it."""
    place = below(folder, entry.place)
    for path in (place, part_path(place)):
        with contextlib.suppress(OSError):
            return min(path.stat().st_size, entry.identity.size)
    return 0


def _begun(entry: Entry, folder: Path) -> int:
    """Return how much of a file an earlier try has left; what it left of another content is thrown away."""
    place = below(folder, entry.place)
    if not os.path.lexists(part_path(place)):
        return 0
    part = Part(place, entry.identity)
    part.close()
    return part.size


def _check_space(folder: Path, to_come: int, *, force: bool) -> None:
    """Raise NoSpace where the disk is too full. Nothing else is needed than what is to come: no file is copied."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        told = os.statvfs(place)
    except OSError:
        return
    free = told.f_bavail * told.f_frsize
    # Some network disks tell nothing but zeros.
    if told.f_blocks and to_come and not force and free < to_come + STAYS_FREE_BYTES:
        raise failures.no_room(folder, free, to_come, STAYS_FREE_BYTES)


def _pinned(wanted: tuple[Entry, ...], pull: Pull, server: str) -> tuple[Entry, ...]:
    """Return the files with the pinned hash for the last, which is the one that is named. Raises WrongContent."""
    *others, named = wanted
    if named.identity.sha256 not in {"", pull.sha256}:
        raise failures.wrong_pin(named.file, server.partition("://")[2], named.identity.sha256, pull.sha256)
    identity = msgspec.structs.replace(named.identity, sha256=pull.sha256)
    return (*others, msgspec.structs.replace(named, identity=identity))


def _missing(wanted: Sequence[Entry], folder: Path, cancel: Cancel) -> list[Entry]:
    """Return which files are not here. Raises WrongContent where another file has such a name."""
    missing = []
    for entry in wanted:
        place = below(folder, entry.place)
        if not os.path.lexists(place):
            missing.append(entry)
        elif not _is(entry, place, cancel):
            raise failures.in_the_way(entry.file, place)
        else:
            tidy(place)
    return missing


def _is(entry: Entry, place: Path, cancel: Cancel) -> bool:
    """Say whether a file is what the hub has, as far as that can be told."""
    identity = entry.identity
    try:
        if not place.is_file() or place.stat().st_size != identity.size:
            return False
        if not identity.hashed[0]:
            return True
        follower = Follower(place.resolve(), identity.hashed[0], identity.head)
        try:
            return follower.result(identity.size, cancel) == identity.hashed[1]
        finally:
            follower.leave()
    except OSError as error:
        raise failures.folder_refuses(error, place) from error
