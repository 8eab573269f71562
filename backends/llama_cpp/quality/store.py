"""What lies on the disk while quality is measured: the base's rows for some chunks, and the scores so far.

The rows are a file without a name: whoever is killed, it goes. The scores are small and stay until the end, so that a
measurement that was stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from backends import paths
from backends.errors import BackendError
from backends.hardware.disk import disk_under
from backends.quality.figures import Scores
from backends.shown import shown_path, size

STAYS_FREE_BYTES = 1024**3


def folder() -> Path:
    """Return our folder, made if need be. Raises BackendError."""
    place = paths.cache() / "quality"
    try:
        return paths.private(place)
    except OSError as error:
        raise _unusable(place, error) from error


def tidy() -> None:
    """Remove what a killed measurement left half written. Only for who has the turn: nobody else writes then."""
    for part in (paths.cache() / "quality").glob(".*.part"):
        with contextlib.suppress(OSError):
            part.unlink()


def key(*facts: object) -> str:
    """Return a name for what depends on these facts."""
    return hashlib.sha256("\0".join(map(str, facts)).encode()).hexdigest()[:32]


def room(wanted: int, least: int, most: int) -> int:
    """Return how many bytes of rows may lie on the disk at a time: at most `most`, and what else is free stays so.

    `least` is what one chunk takes. Raises BackendError where that is more.
    """
    if most < least:
        raise BackendError(
            "One chunk of the text takes more disk than is allowed",
            f"The base's probabilities of every token of the vocabulary take {size(least)} a chunk.",
            f"Allow that: --disk {least / 1e9 + 0.005:.2f}",
        )
    check_room(least)
    free = disk_under(folder()).free_bytes
    return min(wanted, most, wanted if free is None else max(least, free - STAYS_FREE_BYTES))


def check_room(needed: int) -> None:
    """Raise BackendError where the disk has no room for so many bytes and STAYS_FREE_BYTES more."""
    place = folder()
    free = disk_under(place).free_bytes
    if free is not None and free - STAYS_FREE_BYTES < needed:
        raise BackendError(
            "There is too little space for the base's probabilities",
            f"{size(free)} are free in {shown_path(place)}; {size(needed)} are needed, and 1 GB is to stay free.",
            "Free some: `deepseek-tui models` shows what takes most.",
        )


@contextlib.contextmanager
def nameless() -> Iterator[int]:
    """Give a descriptor of a file that nobody sees, and that goes with its last descriptor. Raises BackendError."""
    place = folder()
    try:
        file = tempfile.TemporaryFile(dir=place, buffering=0)  # noqa: SIM115 - only opening may fail in this way
    except OSError as error:
        raise _unusable(place, error) from error
    with file:
        yield file.fileno()


def kept_rows(name: str) -> Path:
    """Return where rows that were kept lie, or would."""
    return folder() / f"{name}.logits"


@contextlib.contextmanager
def keeping(name: str, head: bytes) -> Iterator[int]:
    """Give a descriptor of a file that begins with `head` and gets its name if the block ends well."""
    place = kept_rows(name)
    part = place.with_name(f".{place.name}.part")
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(part, flags, 0o600)
    try:
        os.pwrite(descriptor, head, 0)
        yield descriptor
        part.replace(place)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    finally:
        os.close(descriptor)


class Progress:
    """The scores of one measurement, on the disk as they come; what the disk refuses is only not there later."""

    def __init__(self, name: str) -> None:
        self._path = folder() / f"{name}.scores"
        self.scores: list[Scores] = list(_read(self._path))

    def add(self, scores: Scores) -> None:
        self.scores.append(scores)
        with contextlib.suppress(OSError), self._path.open("ab") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(msgspec.json.encode(scores) + b"\n")

    def forget(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()


def _read(path: Path) -> Iterator[Scores]:
    """Yield the scores of the first chunks without a gap; what a killed writer left of a line ends it."""
    try:
        lines: Sequence[bytes] = path.read_bytes().splitlines(keepends=True)
    except OSError:
        return
    whole = 0
    for number, line in enumerate(lines):
        try:
            scores = msgspec.json.decode(line, type=Scores) if line.endswith(b"\n") else None
        except msgspec.MsgspecError:
            scores = None
        if scores is None or scores.chunk != number:
            break
        whole += len(line)
        yield scores
    with contextlib.suppress(OSError):
        os.truncate(path, whole)


def _unusable(place: Path, error: OSError) -> BackendError:
    return BackendError(
        "The cache folder cannot be used", f"{shown_path(place)}: {error.strerror or error}", "Mend or move it."
    )
