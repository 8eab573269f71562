"""Checks of the disk under the models: its kind, what is free on it, and how fast it reads."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from backends.hardware.disk import Disk
from backends.shown import printable, shown_path
from tui.checks.check import Check
from tui.checks.fits import plans
from tui.checks.ground import Ground
from tui.units import gigabytes, memory

_LITTLE = 5_000_000_000
"""The 8B preset's file has 4.9 GB, and there is none that is smaller and still DeepSeek but the 1.5B's."""
_NOTHING = 100_000_000
_SLOW = 200_000_000
"""Bytes a second: a rotating disk's, at which 5 GB take 25 s, and a streamed 32B over a minute a token."""
_KINDS = {
    "nvme": "NVMe SSD",
    "sata-ssd": "SATA SSD",
    "other-ssd": "SSD",
    "rotating": "rotating disk",
    "network": "network disk",
    "memory": "memory that plays a disk",
    "unknown": "disk of an unknown kind",
}


def disk(ground: Ground) -> Iterator[Check]:
    """The disk under the models' folder."""
    found = ground.machine.disk
    where, kind = shown_path(ground.folder), _KINDS[found.kind]
    read = found.read
    speed = f"reads {gigabytes(read.bytes_per_s)} GB/s ({read.source})" if read is not None else "speed not measured"
    free = f"{memory(found.free_bytes)} free" if found.free_bytes is not None else "free space unknown"
    about = ", ".join(part for part in (kind, printable(found.model), speed, free) if part)
    slow = _slow(found, ground)
    if slow:
        why, fix = slow
        yield Check("disk", "warn", f"{where}: {about}. {why}", fix, "disk-slow", f"{about}. {why}")
    elif found.kind == "sata-ssd" and (names := _streaming(ground)):
        why = f"{', '.join(names)} reads from it at every token"
        fix = "Keep that model on an NVMe SSD, or take a smaller one."
        yield Check("disk", "warn", f"{where}: {about}; {why}", fix, "streams-slow", about)
    else:
        note = f" {found.note}" if found.note and found.kind == "unknown" else ""
        yield Check("disk", "ok", f"{where}: {about}.{note}", public=f"{about}.{note}")
    if found.free_bytes is not None and found.free_bytes < _LITTLE:
        yield _full(found.free_bytes, ground)


def _slow(found: Disk, ground: Ground) -> tuple[str, str] | None:
    """Return why a disk is slow, and what mends it."""
    ours, there = shlex.quote(str(ground.folder)), "/PATH/ON/AN/SSD/models"
    moved = f"mv {ours} {there} && ln -s {there} {ours}"
    if found.file_system in {"9p", "drvfs"} or (ground.machine.wsl2 and found.kind == "network"):
        inside = f"mv {ours} ~/models && ln -s ~/models {ours}"
        return "It is a disk of Windows, which WSL2 reaches over a network protocol.", inside
    if found.kind == "network":
        return "It is reached over a network.", moved
    if found.read is not None and found.read.bytes_per_s < _SLOW:
        return "It was measured as slow as a rotating disk.", moved
    if found.read is None and found.kind == "rotating":
        return "It rotates.", moved
    return None


def _streaming(ground: Ground) -> list[str]:
    """Return the presets whose model is here and does not fit into memory: it is read from the disk all the time."""
    return [
        entry.name
        for entry, plan in plans(ground)
        if plan.located.present and plan.fit is not None and plan.fit.bytes.ssd.total
    ]


def _full(free: int, ground: Ground) -> Check:
    where, named = shown_path(ground.folder), shlex.quote(str(ground.folder))
    text = f"{memory(free)} free, and the 8B preset's file has 4.9 GB"
    fix = f"du -xh {named} | sort -h | tail   (shows the largest)"
    if free < _NOTHING:
        return Check("disk space", "fail", f"{where}: {memory(free)} free", fix, "lost", f"{memory(free)} free")
    return Check("disk space", "warn", f"{where}: {text}", fix, "disk-full", text)
