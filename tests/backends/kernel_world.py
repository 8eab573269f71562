"""Folders like the kernel's: proc and sys of machines that are not here."""

from __future__ import annotations

import os
from pathlib import Path


def machine(root: Path, files: dict[str, str]) -> Path:
    """Write files, by their paths under `root`, and return it."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def link(path: Path, target: Path) -> None:
    """Make `path` a relative link, as sysfs does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


class Disks:
    """Block devices of a fake machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._number = 0

    def add(self, place: str, name: str, rotational: int | None = 0, model: str = "", vendor: str = "") -> Path:
        """Make a disk whose folder is sys/devices/`place`/`name`, with a number of its own."""
        folder = self.root / "sys/devices" / place / name
        (folder / "queue").mkdir(parents=True)
        if rotational is not None:
            (folder / "queue/rotational").write_text(f"{rotational}\n")
        if model and not name.startswith("nvme"):
            machine(folder, {"device/model": f"{model}\n", "device/vendor": f"{vendor}\n"})
        return self._numbered(folder)

    def part(self, disk: Path, name: str) -> Path:
        """Make a partition."""
        folder = disk / name
        machine(folder, {"partition": "1\n"})
        return self._numbered(folder)

    def above(self, name: str, *slaves: Path) -> Path:
        """Make a device that lies on others: dm-crypt, LVM, RAID."""
        folder = self.add("virtual/block", name)
        for slave in slaves:
            link(folder / "slaves" / slave.name, slave)
        return folder

    def nvme(self, name: str = "nvme0", speed: str = "16.0 GT/s PCIe", lanes: str = "4") -> Path:
        """Make an NVMe disk on a PCIe link: sys/devices/pci…/nvme/nvme0/nvme0n1."""
        bus = self.root / f"sys/devices/pci0000:00/0000:0{name[-1]}:00.0"
        machine(bus, {"current_link_speed": f"{speed}\n", "current_link_width": f"{lanes}\n"})
        disk = self.add(f"pci0000:00/{bus.name}/nvme/{name}", f"{name}n1")
        controller = disk.parent
        machine(controller, {"transport": "pcie\n", "model": "Samsung SSD 980 PRO 1TB\n"})
        link(controller / "device", bus)
        link(disk / "device", controller)
        return disk

    def number(self, folder: Path) -> str:
        """Return a device's major:minor."""
        return (folder / "dev").read_text().strip()

    def mounted(
        self, point: Path, device: str, kind: str = "ext4", source: str = "/dev/x", options: str = "rw"
    ) -> None:
        """Add a line to mountinfo."""
        info = self.root / "proc/self/mountinfo"
        info.parent.mkdir(parents=True, exist_ok=True)
        written = str(point).replace(" ", "\\040")
        with info.open("a") as file:
            file.write(f"36 35 {device} / {written} rw,noatime shared:1 - {kind} {source} {options}\n")

    def _numbered(self, folder: Path) -> Path:
        self._number += 1
        number = f"259:{self._number}"
        (folder / "dev").write_text(f"{number}\n")
        link(self.root / "sys/dev/block" / number, folder)
        link(self.root / "sys/class/block" / folder.name, folder)
        return folder
