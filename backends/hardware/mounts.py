"""Which file system a folder lies on: /proc/self/mountinfo."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from backends.hardware.kernel_files import text

_UNSEEN = re.compile(r"\\([0-7]{3})")


class Mount(msgspec.Struct, frozen=True):
    """One mounted file system: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html.

    `device` is major:minor, `inner` the folder of the file system that is mounted, `point` where.
    """

    device: str
    inner: str
    point: str
    file_system: str
    source: str
    options: str


def mounts(root: Path = Path("/")) -> tuple[Mount, ...]:
    """Return them all, the oldest first; none where /proc does not tell."""
    found = []
    for line in text(root / "proc/self/mountinfo").split("\n"):
        before, _, after = line.partition(" - ")
        fields, rest = [_plain(part) for part in before.split(" ")], [_plain(part) for part in after.split(" ")]
        if len(fields) >= 5 and len(rest) >= 3:
            found.append(Mount(fields[2], fields[3], fields[4], rest[0], rest[1], rest[2]))
    return tuple(found)


def mount_of(folder: str, among: tuple[Mount, ...]) -> Mount | None:
    """Return the mount that shows what lies at an absolute path: the innermost, and of those the newest."""
    best = None
    for mount in among:
        under = mount.point in {"/", folder} or folder.startswith(f"{mount.point}/")
        if under and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _plain(field: str) -> str:
    return _UNSEEN.sub(lambda match: chr(int(match[1], 8)), field)
