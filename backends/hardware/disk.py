"""The disk under a folder: which it is, what is free on it, and how it is connected.

Linux tells through /proc/self/mountinfo and sysfs; elsewhere the sizes alone are known. A dead network disk makes any
look at it hang: `machine.snapshot` waits with an end.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from backends.hardware.block import BlockDisk, DiskKind, disks_of, together
from backends.hardware.kernel_files import printable, text
from backends.hardware.mounts import Mount, mount_of, mounts
from backends.hardware.speed import Speed

_ROOT = Path("/")
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|drvfs|ceph|afs|lustre|gpfs|beegfs|ocfs2|"
    r"fuse\.(?:sshfs|rclone|s3fs|glusterfs|davfs|davfs2|gcsfuse|ceph|juicefs|smbnetfs)"
)
_MEMORY = {"tmpfs", "ramfs", "hugetlbfs"}
_LONGEST_WAY = 4
_PCIE_CODING = 128 / 130
"""Share of the transfers that carry data: 128b/130b since PCIe 3, PCI-SIG's base specification."""
_PCIE_OLD_CODING = 8 / 10
_PCIE_3_GT_PER_S = 8.0


class Disk(msgspec.Struct, frozen=True):
    """A disk as it is under a folder; "" and None mean unknown, and then `note` says why.

    `device` names the block devices, several as "nvme0n1 + nvme1n1", or a network disk's source. `free_bytes` is what
    this user may still write. `pcie_gt_per_s` and `pcie_lanes` are an NVMe's link as it is now: it may be slower while
    it sleeps. `read` is the speed of reading a large file from its beginning to its end.
    """

    kind: DiskKind = "unknown"
    device: str = ""
    model: str = ""
    file_system: str = ""
    total_bytes: int | None = None
    free_bytes: int | None = None
    pcie_gt_per_s: float | None = None
    pcie_lanes: int | None = None
    read: Speed | None = None
    note: str = ""


def disk_under(folder: Path, root: Path = _ROOT) -> Disk:
    """Look at the disk of a folder, or of the one in which it would be made. Never raises, but may block."""
    try:
        folder = folder.expanduser().absolute().resolve()
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
    except (OSError, RuntimeError) as error:
        return Disk(note=f"The folder cannot be reached: {printable(str(error))}")
    total, free = _sizes(folder)
    among = mounts(root)
    mount = mount_of(str(folder), among)
    if mount is None:
        return Disk(total_bytes=total, free_bytes=free, note="The system does not tell which disk it is.")
    found = _beneath(mount, among, root, _LONGEST_WAY)
    return msgspec.structs.replace(found, file_system=printable(mount.file_system), total_bytes=total, free_bytes=free)


def link_bytes_per_s(disk: Disk) -> int | None:
    """Return what an NVMe's PCIe link can carry in one direction, None if it is not known. No disk is faster."""
    if disk.pcie_gt_per_s is None or disk.pcie_lanes is None:
        return None
    coding = _PCIE_CODING if disk.pcie_gt_per_s >= _PCIE_3_GT_PER_S else _PCIE_OLD_CODING
    return round(disk.pcie_gt_per_s * 1e9 * coding / 8 * disk.pcie_lanes)


def _sizes(folder: Path) -> tuple[int | None, int | None]:
    try:
        told = os.statvfs(folder)
    except OSError:
        return None, None
    # Some network disks tell nothing but zeros.
    return (told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize) if told.f_blocks else (None, None)


def _beneath(mount: Mount, among: tuple[Mount, ...], root: Path, way: int) -> Disk:
    source = printable(mount.source)
    if _NETWORK.fullmatch(mount.file_system):
        return Disk("network", source)
    if mount.file_system in _MEMORY:
        return Disk("memory", source)
    if mount.file_system == "overlay" and way:
        lower = _under_overlay(mount, among)
        if lower is None:
            return Disk(note="It is a container's overlay: the disk beneath it cannot be seen.")
        return _beneath(lower, among, root, way - 1)
    devices = _devices(mount, root)
    disks = tuple(disk for device in devices for disk in disks_of(device))
    if len(disks) == 1 and disks[0].name.startswith("loop") and way:
        lower = _under_loop(root / f"sys/class/block/{disks[0].name}", among, mount)
        if lower is not None:
            return _beneath(lower, among, root, way - 1)
    if not disks:
        return Disk(device=source, note=f"The kernel does not tell which disk is under {mount.file_system}.")
    return _joined(disks)


def _joined(disks: tuple[BlockDisk, ...]) -> Disk:
    linked = [disk for disk in disks if disk.pcie_gt_per_s is not None and disk.pcie_lanes is not None]
    slowest = min(linked, key=lambda disk: (disk.pcie_gt_per_s or 0) * (disk.pcie_lanes or 0), default=None)
    every = slowest is not None and len(linked) == len(disks)
    return Disk(
        together(disks),
        " + ".join(disk.name for disk in disks),
        " + ".join(dict.fromkeys(disk.model for disk in disks if disk.model)),
        pcie_gt_per_s=slowest.pcie_gt_per_s if slowest and every else None,
        pcie_lanes=slowest.pcie_lanes if slowest and every else None,
        note=" ".join(dict.fromkeys(disk.note for disk in disks if disk.note)),
    )


def _devices(mount: Mount, root: Path) -> list[Path]:
    """Return the folders of a mount's block devices in sysfs."""
    numbered = root / f"sys/dev/block/{mount.device}"
    if re.fullmatch(r"\d+:\d+", mount.device) and not mount.device.startswith("0:"):
        return [numbered]
    # btrfs, bcachefs: the number is no device's, but the source names one, or several.
    names = []
    for part in re.split(r":(?=/)", mount.source):
        if part.startswith("/dev/"):
            try:
                names.append((root / part.lstrip("/")).resolve().name)
            except (OSError, RuntimeError):
                continue
    for pool in sorted((root / "sys/fs/btrfs").glob("*/devices")):
        members = sorted(member.name for member in pool.glob("*"))
        if set(names) & set(members):
            names = members
    return [root / f"sys/class/block/{name}" for name in names]


def _under_overlay(mount: Mount, among: tuple[Mount, ...]) -> Mount | None:
    """Return the mount that holds an overlay's upper layer, where it can be seen from here."""
    options = dict(part.partition("=")[::2] for part in mount.options.split(","))
    upper = options.get("upperdir") or options.get("lowerdir", "").split(":")[0]
    if not upper:
        return None
    if Path(upper).exists():
        found = mount_of(upper, among)
        return found if found != mount else None
    # Docker lays files such as /etc/hostname into the container from the folder that holds the layers too.
    for other in among:
        store = other.inner.partition("/containers/")[0]
        if "/containers/" in other.inner and store and f"{store}/" in upper:
            return other
    return None


def _under_loop(device: Path, among: tuple[Mount, ...], mount: Mount) -> Mount | None:
    """Return the mount that holds the file which a loop device shows."""
    file = text(device / "loop/backing_file")
    found = mount_of(file, among) if file.startswith("/") else None
    return found if found != mount else None
