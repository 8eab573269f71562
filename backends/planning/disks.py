"""How fast a disk is taken to be that nobody has measured yet, by its kind. Every plan that uses it says so."""

from __future__ import annotations

from backends.hardware.block import DiskKind
from backends.hardware.disk import Disk, link_bytes_per_s
from backends.hardware.speed import Speed

ASSUMED_BYTES_PER_S: dict[DiskKind, int] = {
    "nvme": 2_000_000_000,
    "sata-ssd": 500_000_000,
    "other-ssd": 400_000_000,
    "rotating": 150_000_000,
}
"""Sequential reads that nearly every disk of its kind reaches: an NVMe with four lanes of PCIe 3, 6 Gb/s of SATA,
5 Gb/s of USB, an outer track. Of a network, and of what is unknown, nothing is assumed."""


def read_speed(disk: Disk) -> Speed | None:
    """Return how fast a disk reads: as it is known, else as it is assumed, None where neither can be."""
    if disk.read is not None:
        return disk.read
    assumed, link = ASSUMED_BYTES_PER_S.get(disk.kind), link_bytes_per_s(disk)
    if assumed is None:
        return None
    return Speed(assumed if link is None else min(assumed, link), "assumed")
