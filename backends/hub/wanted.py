"""What a job is told to fetch: a value of its own, so that who only begins or watches one imports nothing for it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from backends.hub.address import HubFile

KIND = "pull"
PATIENCE_S = 600.0
STAYS_FREE_BYTES = 1024**3
"""What a download leaves on the disk for everything else."""


class Pull(msgspec.Struct, frozen=True):
    """What to fetch, and into which folder: the repository's files lie there as they do at the hub.

    `file.file` is "", or has a / at its end, for a model folder. `sha256` is what the file has to be, "" if nothing is
    pinned. `force` fetches it also onto a disk that is too full. `patience_s` is how long a line that breaks is tried
    again.
    """

    file: HubFile
    folder: str
    sha256: str = ""
    force: bool = False
    patience_s: float = PATIENCE_S


def part_path(place: Path) -> Path:
    """Return where a file lies until it is whole and verified, and gets its name."""
    return place.with_name(f"{place.name}.part")
