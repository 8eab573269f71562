"""The disk under a folder on folders like the kernel's, and how fast true files are read."""

from __future__ import annotations

import mmap
import os
import threading
import time
from pathlib import Path

import pytest

from backends.hardware import patience, read_speed
from backends.hardware.disk import Disk, disk_under, link_bytes_per_s
from backends.hardware.mounts import mounts
from backends.hardware.read_speed import LEAST_BYTES, ReadSpeed, measure_read, recall, remember
from backends.hardware.speed import Speed
from tests.backends.kernel_world import Disks, link, machine

SATA = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block"
USB = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0/block"
SAS = "pci0000:00/0000:03:00.0/host2/target2:2:0/2:2:0:0/block"


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    return Disks(tmp_path / "root")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = (tmp_path / "my models").resolve()
    folder.mkdir()
    return folder


def look(disks: Disks, models: Path, device: Path, kind: str = "ext4") -> Disk:
    disks.mounted(Path("/"), "8:99")
    disks.mounted(models.parent, "0:5", "tmpfs", "tmpfs")
    disks.mounted(models, disks.number(device), kind)
    return disk_under(models / "not/there/yet", disks.root)


def test_an_nvme_is_found_beneath_its_partition_with_its_link(disks: Disks, models: Path) -> None:
    disk = disks.nvme()
    found = look(disks, models, disks.part(disk, "nvme0n1p2"))
    assert (found.kind, found.device, found.model) == ("nvme", "nvme0n1", "Samsung SSD 980 PRO 1TB")
    assert (found.file_system, found.pcie_gt_per_s, found.pcie_lanes, found.note) == ("ext4", 16.0, 4, "")
    assert found.total_bytes is not None
    assert found.free_bytes is not None
    assert 0 <= found.free_bytes <= found.total_bytes
    # PCI-SIG: PCIe 4.0 x4 is 7.88 GB/s, PCIe 2.0 x4 is 2.0 GB/s.
    assert link_bytes_per_s(found) == pytest.approx(7.88e9, rel=0.001)
    assert link_bytes_per_s(Disk(pcie_gt_per_s=5.0, pcie_lanes=4)) == 2_000_000_000
    assert link_bytes_per_s(Disk()) is None


def test_an_nvme_with_several_paths_is_found_through_its_subsystem(disks: Disks, models: Path) -> None:
    disks.nvme()
    subsystem = disks.root / "sys/devices/virtual/nvme-subsystem/nvme-subsys1"
    disk = disks.add("virtual/nvme-subsystem/nvme-subsys1", "nvme1n1")
    link(disk / "device", subsystem)
    link(subsystem / "nvme0", disks.root / "sys/devices/pci0000:00/0000:00:00.0/nvme/nvme0")
    assert look(disks, models, disk).pcie_lanes == 4


def test_an_nvme_over_a_network_is_a_network_disk(disks: Disks, models: Path) -> None:
    disk = disks.nvme()
    (disk.parent / "transport").write_text("tcp\n")
    assert look(disks, models, disk).kind == "network"


def test_a_link_that_is_not_told_is_unknown(disks: Disks, models: Path) -> None:
    found = look(disks, models, disks.nvme(speed="Unknown", lanes="0"))
    assert (found.kind, found.pcie_gt_per_s, found.pcie_lanes) == ("nvme", None, None)


@pytest.mark.parametrize(
    ("place", "name", "rotational", "model", "kind"),
    [
        (SATA, "sda", 0, "Samsung SSD 870", "sata-ssd"),
        (SATA, "sda", 1, "ST4000DM004", "rotating"),
        (SATA, "sda", None, "", "unknown"),
        (SATA, "sda", 0, "QEMU HARDDISK", "unknown"),
        (SAS, "sdb", 0, "PERC H730", "other-ssd"),
        (SAS, "sdb", 1, "PERC H730", "rotating"),
        (USB, "sdc", 0, "Extreme SSD", "other-ssd"),
        (USB, "sdc", 1, "Elements", "unknown"),
        ("platform/mmc0/mmc0:0001/block", "mmcblk0", 0, "", "other-ssd"),
        ("platform/host3/session1/target3:0:0/3:0:0:1/block", "sdd", 1, "iSCSI", "network"),
        ("virtual/block", "nbd0", 0, "", "network"),
        ("virtual/block", "zram0", 0, "", "memory"),
        ("virtual/block", "dm-3", 0, "", "unknown"),
        ("pci0000:00/0000:00:02.0/virtio1/block", "vda", 1, "", "unknown"),
        ("LNXSYSTM:00/VMBUS:00/f8b3781b-1e82-4818-a1c3-63d806ec15bb/host0/block", "sde", 0, "Disk", "unknown"),
    ],
)
def test_kinds_of_disks(
    disks: Disks, models: Path, place: str, name: str, rotational: int | None, model: str, kind: str
) -> None:
    found = look(disks, models, disks.add(place, name, rotational, model, "ATA"))
    assert (found.kind, found.model) == (kind, model)
    assert bool(found.note) == (kind == "unknown")


def test_encryption_and_lvm_are_followed_down_to_the_disk(disks: Disks, models: Path) -> None:
    part = disks.part(disks.nvme(), "nvme0n1p3")
    found = look(disks, models, disks.above("dm-1", disks.above("dm-0", part)))
    assert (found.kind, found.device, found.pcie_lanes) == ("nvme", "nvme0n1", 4)


def test_a_raid_is_as_fast_a_kind_as_its_slowest_disk(disks: Disks, models: Path) -> None:
    sata = disks.add(SATA, "sda", 1, "WD Red")
    found = look(disks, models, disks.above("md0", disks.nvme("nvme0"), sata))
    assert (found.kind, found.device, found.pcie_lanes) == ("rotating", "nvme0n1 + sda", None)


def test_a_raid_of_alike_disks_tells_its_slowest_link(disks: Disks, models: Path) -> None:
    slow = disks.nvme("nvme1", "8.0 GT/s PCIe")
    found = look(disks, models, disks.above("md0", disks.nvme("nvme0"), slow))
    assert (found.kind, found.pcie_gt_per_s) == ("nvme", 8.0)


def test_a_circle_of_devices_ends(disks: Disks, models: Path) -> None:
    one = disks.above("dm-0")
    two = disks.above("dm-1", one)
    link(one / "slaves/dm-1", two)
    assert look(disks, models, one).kind == "unknown"


def test_all_disks_of_a_btrfs_are_found_though_its_number_is_no_devices(disks: Disks, models: Path) -> None:
    first, second = disks.nvme("nvme0"), disks.add(SATA, "sda", 0, "SSD")
    machine(disks.root, {"dev/nvme0n1": ""})
    pool = disks.root / "sys/fs/btrfs/1234/devices"
    link(pool / "nvme0n1", first)
    link(pool / "sda", second)
    disks.mounted(models, "0:41", "btrfs", "/dev/nvme0n1")
    found = disk_under(models, disks.root)
    assert (found.kind, found.device, found.file_system) == ("sata-ssd", "nvme0n1 + sda", "btrfs")


def test_a_volume_named_by_the_device_mapper_is_found(disks: Disks, models: Path) -> None:
    top = disks.above("dm-0", disks.nvme())
    machine(disks.root, {"dev/dm-0": ""})
    link(disks.root / "dev/mapper/luks", disks.root / "dev/dm-0")
    assert top.name == "dm-0"
    disks.mounted(models, "0:41", "btrfs", "/dev/mapper/luks")
    assert disk_under(models, disks.root).kind == "nvme"


@pytest.mark.parametrize(
    ("file_system", "source", "kind"),
    [
        ("nfs4", "box:/models", "network"),
        ("cifs", "//box/models", "network"),
        ("fuse.sshfs", "me@box:", "network"),
        ("9p", "C:\\134", "network"),
        ("tmpfs", "tmpfs", "memory"),
        ("zfs", "tank/models", "unknown"),
        ("fuse.encfs", "encfs", "unknown"),
    ],
)
def test_file_systems_without_a_device(disks: Disks, models: Path, file_system: str, source: str, kind: str) -> None:
    disks.mounted(models, "0:50", file_system, source)
    found = disk_under(models, disks.root)
    assert (found.kind, found.file_system) == (kind, file_system)
    assert bool(found.note) == (kind == "unknown")


def test_a_containers_overlay_shows_no_disk(disks: Disks, models: Path) -> None:
    options = "rw,lowerdir=/var/lib/docker/overlay2/l/A,upperdir=/var/lib/docker/overlay2/x/diff,workdir=/w"
    disks.mounted(models, "0:60", "overlay", "overlay", options)
    found = disk_under(models, disks.root)
    assert (found.kind, found.file_system) == ("unknown", "overlay")
    assert "overlay" in found.note


def test_dockers_own_files_tell_the_disk_beneath_its_overlay(disks: Disks, models: Path) -> None:
    disk = disks.nvme()
    disks.mounted(models, "0:60", "overlay", "overlay", "rw,upperdir=/var/lib/docker/overlay2/x/diff")
    info = disks.root / "proc/self/mountinfo"
    line = f"37 36 {disks.number(disk)} /lib/docker/containers/abc/hostname /etc/hostname rw - ext4 /dev/nvme0n1 rw\n"
    info.write_text(info.read_text() + line)
    found = disk_under(models, disks.root)
    assert (found.kind, found.device, found.file_system) == ("nvme", "nvme0n1", "overlay")


def test_an_overlay_of_this_very_machine_is_followed(disks: Disks, models: Path, tmp_path: Path) -> None:
    upper = (tmp_path / "upper").resolve()
    upper.mkdir()
    disks.mounted(upper, disks.number(disks.nvme()))
    disks.mounted(models, "0:60", "overlay", "overlay", f"rw,lowerdir=/l,upperdir={upper}")
    assert disk_under(models, disks.root).kind == "nvme"


def test_a_file_that_plays_a_disk_is_followed_to_its_own(disks: Disks, models: Path, tmp_path: Path) -> None:
    loop = disks.add("virtual/block", "loop3")
    machine(loop, {"loop/backing_file": f"{tmp_path.resolve()}/image.img\n"})
    disks.mounted(tmp_path.resolve(), disks.number(disks.nvme()))
    disks.mounted(models, disks.number(loop), "squashfs")
    found = disk_under(models, disks.root)
    assert (found.kind, found.file_system) == ("nvme", "squashfs")


def test_where_the_system_does_not_tell_the_sizes_are_still_known(tmp_path: Path) -> None:
    found = disk_under(tmp_path, tmp_path / "nothing")
    assert (found.kind, found.device) == ("unknown", "")
    assert found.free_bytes is not None
    assert found.note


def test_a_mountinfo_of_garbage_is_no_mount(tmp_path: Path) -> None:
    root = machine(tmp_path, {"proc/self/mountinfo": "\n - \n1 2 3\n- - -\na b c d e f - g\n"})
    assert mounts(root) == ()


def test_the_disk_of_this_machine_makes_sense(tmp_path: Path) -> None:
    found = disk_under(tmp_path)
    assert found.total_bytes is None or found.total_bytes > 0
    assert found.kind != "unknown" or found.note


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        for _ in range(LEAST_BYTES // (1 << 20) + 8):
            file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    return path


def test_a_file_is_read_past_the_page_cache_and_not_changed(model: Path) -> None:
    before = model.stat()
    found = measure_read(model, 5)
    assert found.method in {"direct", "dropped"}
    assert found.problem == ""
    assert found.read_bytes == before.st_size
    assert found.bytes_per_s == pytest.approx(found.read_bytes / found.seconds, rel=0.01)
    assert (model.stat().st_mtime_ns, model.stat().st_size) == (before.st_mtime_ns, before.st_size)


def test_time_and_bytes_are_bounded(model: Path) -> None:
    found = measure_read(model, 5, LEAST_BYTES)
    assert LEAST_BYTES <= found.read_bytes <= LEAST_BYTES + (8 << 20)
    assert measure_read(model, 0.0).bytes_per_s is None


def test_without_direct_reads_the_cache_is_dropped_first(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_DIRECT", raising=False)
    found = measure_read(model, 5)
    # A file system in memory has nothing to drop, and then it says so.
    assert found.method == "dropped" or "stays in memory" in found.problem


def test_a_file_system_that_refuses_direct_reads_falls_back(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_open = os.open

    def refuse(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return true_open(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    assert measure_read(model, 5).method in {"dropped", None}


def test_a_file_that_others_hold_in_memory_is_not_taken_for_the_disk(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_DIRECT", raising=False)
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[place] for place in range(0, len(mapped), 4096)) > 0
        found = measure_read(model, 5)
    assert found.bytes_per_s is None
    assert "stays in memory" in found.problem


def test_what_is_no_large_file_is_said(tmp_path: Path) -> None:
    small = machine(tmp_path, {"small": "x"}) / "small"
    os.mkfifo(tmp_path / "pipe")
    assert "too small" in measure_read(small).problem
    assert "not a file" in measure_read(tmp_path / "pipe").problem
    assert "not a file" in measure_read(tmp_path).problem
    assert "No such file" in measure_read(tmp_path / "none").problem
    assert "null" in measure_read(Path("a\0b")).problem


def test_a_disk_that_hangs_blocks_nobody_and_is_not_asked_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead, asked = threading.Event(), []

    def hang(*_arguments: object) -> ReadSpeed:
        asked.append(1)
        dead.wait(30)
        return ReadSpeed()

    monkeypatch.setattr(read_speed, "_measured", hang)
    monkeypatch.setattr(read_speed, "_GRACE_S", 0.1)
    monkeypatch.setattr(patience, "HANGS_AFTER_S", 0.1)
    for _ in range(3):
        began = time.monotonic()
        assert "has not answered" in measure_read(model, 0.1).problem
        assert time.monotonic() - began < 2
    assert len(asked) == 1
    dead.set()
    deadline = time.monotonic() + 10
    while patience._under_way and time.monotonic() < deadline:
        time.sleep(0.01)
    monkeypatch.undo()
    assert measure_read(model, 5).problem == ""


def test_a_measured_speed_is_kept_for_its_disk() -> None:
    disk = Disk("nvme", "nvme0n1", "980 PRO", "ext4", 10**12)
    assert recall(disk) is None
    remember(disk, ReadSpeed(None, problem="no"))
    assert recall(disk) is None
    remember(disk, ReadSpeed(5_000_000_000, "direct", 1, 1.0))
    assert recall(disk) == Speed(5_000_000_000, "measured")
    assert recall(Disk("nvme", "nvme1n1", "980 PRO", "ext4", 10**12)) is None
