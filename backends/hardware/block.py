"""Block devices in sysfs: from a device's number down to the disks that hold its bytes, and what these are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from backends.hardware.kernel_files import number, printable, text

DiskKind = Literal["nvme", "sata-ssd", "other-ssd", "rotating", "network", "memory", "unknown"]
"""`other-ssd` is flash behind USB, a card reader, SAS or a RAID controller; `memory` is RAM that plays a disk."""

_SLOW_FIRST: tuple[DiskKind, ...] = ("network", "rotating", "other-ssd", "sata-ssd", "nvme", "memory")
_DEEPEST = 8
_MOST = 64
_VIRTUAL_BUS = re.compile(r"/(?:virtio\d+|VMBUS:[^/]*|vbd-[^/]*|[0-9a-f-]{36})/", re.IGNORECASE)
_VIRTUAL_NAME = re.compile(r"\b(?:QEMU|VBOX|VMware|Virtual|Msft|Xen)\b", re.IGNORECASE)
VIRTUAL = "It is a virtual disk: what is beneath it cannot be seen."


class BlockDisk(msgspec.Struct, frozen=True):
    """One disk. `pcie_gt_per_s` (10⁹ transfers a second and lane) and `pcie_lanes` are those of an NVMe's link now."""

    name: str
    kind: DiskKind
    model: str = ""
    note: str = ""
    pcie_gt_per_s: float | None = None
    pcie_lanes: int | None = None


def disks_of(device: Path) -> tuple[BlockDisk, ...]:
    """Return the disks beneath a block device; `device` is its folder in sysfs, such as /sys/dev/block/259:2."""
    return tuple(_described(folder) for folder in sorted(set(_leaves(device, _DEEPEST)))[:_MOST])


def together(disks: tuple[BlockDisk, ...]) -> DiskKind:
    """Return the kind of some disks that are read together: that of the slowest, unknown if one's is unknown."""
    kinds = {disk.kind for disk in disks}
    if not kinds or "unknown" in kinds:
        return "unknown"
    return min(kinds, key=_SLOW_FIRST.index)


def _leaves(device: Path, depth: int) -> Iterator[Path]:
    """Yield the whole disks beneath partitions, dm-crypt, LVM, RAID and caches."""
    try:
        folder = device.resolve(strict=True)
        if (folder / "partition").exists():
            folder = folder.parent
        slaves = sorted((folder / "slaves").iterdir()) if (folder / "slaves").is_dir() else []
    except (OSError, RuntimeError):
        return
    if not slaves or depth == 0:
        yield folder
        return
    for slave in slaves[:_MOST]:
        yield from _leaves(slave, depth - 1)


def _described(disk: Path) -> BlockDisk:
    vendor = text(disk / "device/vendor")
    # That of every SATA disk is the word "ATA", and where PCI is above a number.
    told = vendor if vendor != "ATA" and not vendor.startswith("0x") else ""
    model = printable(f"{told} {text(disk / 'device/model')}".strip())
    kind, note = _kind(disk, model)
    speed, lanes = _link(disk) if disk.name.startswith("nvme") else (None, None)
    return BlockDisk(disk.name, kind, model, note, speed, lanes)


def _kind(disk: Path, model: str) -> tuple[DiskKind, str]:
    name, place = disk.name, f"{disk}/"
    if re.match(r"zram|ram|pmem", name):
        return "memory", ""
    if re.match(r"nbd|rbd|drbd", name) or re.search(r"/session\d+/", place):
        return "network", ""
    passed_through = name.startswith("nvme")
    if _VIRTUAL_NAME.search(model) or (_VIRTUAL_BUS.search(place) and not passed_through):
        return "unknown", VIRTUAL
    if passed_through:
        return _kind_of_nvme(disk)
    rotates = number(disk / "queue/rotational")
    if re.search(r"/usb\d+/", place) and rotates != 0:
        return "unknown", "It hangs on USB, where an SSD often claims to rotate."
    if re.match(r"dm-|md\d|loop|bcache|zd", name) or rotates is None:
        return "unknown", "The kernel does not tell which disk is beneath it."
    if rotates:
        return "rotating", ""
    return ("sata-ssd" if re.search(r"/ata\d+/", place) else "other-ssd"), ""


def _kind_of_nvme(disk: Path) -> tuple[DiskKind, str]:
    transports = {text(controller / "transport") for controller in _controllers(disk)} - {""}
    if transports & {"tcp", "rdma", "fc"}:
        return "network", f"NVMe over a network: {', '.join(sorted(transports))}."
    return "nvme", ""


def _controllers(disk: Path) -> list[Path]:
    """Return an NVMe disk's controllers: its parent, or those of its subsystem where there may be several paths."""
    try:
        parent = (disk / "device").resolve()
        inner = sorted(child for child in parent.iterdir() if re.fullmatch(r"nvme\d+", child.name))
    except (OSError, RuntimeError):
        return []
    return inner or [parent]


def _link(disk: Path) -> tuple[float | None, int | None]:
    """Return speed and width of the PCIe link of an NVMe: Documentation/ABI/testing/sysfs-bus-pci of Linux."""
    for controller in _controllers(disk):
        match = re.match(r"(\d{1,3}(?:\.\d+)?) GT/s", text(controller / "device/current_link_speed"))
        lanes = number(controller / "device/current_link_width")
        if match and lanes:
            return float(match[1]), lanes
    return None, None
