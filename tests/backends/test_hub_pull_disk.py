"""Fetching onto disks that are full, small or closed: told before it begins where that can be, and nothing is lost."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import BackendError
from backends.hub import checksum, pull
from backends.hub.failures import NoSpace
from tests.backends.pulling import Puller, make_puller

MIB = 1024**2


@pytest.fixture
def puller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> Iterator[Puller]:
    yield from make_puller(monkeypatch, tmp_path)


def test_a_disk_that_is_too_full_is_told_before_anything_is_fetched(
    puller: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = puller.publish(size=2_000_000)
    free = os.statvfs(puller.told).f_bavail * os.statvfs(puller.told).f_frsize
    monkeypatch.setattr(pull, "STAYS_FREE_BYTES", free + 700_000_000)
    with pytest.raises(NoSpace, match=r"too full: \d{3} MB are missing") as caught:
        puller.pull()
    # The 700 MB and the file; others write on the same disk meanwhile.
    assert 400 < float(caught.value.title.split(": ")[1].split()[0]) < 1000
    assert "2 MB are to come" in caught.value.detail
    assert "--force" in caught.value.hint
    assert puller.hub.sent <= 1
    assert not puller.folder.exists()
    puller.pull(force=True)
    assert puller.fetched(content)


@pytest.fixture
def small_disk(puller: Puller, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder is a disk of 3 MiB."""
    puller.folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(puller.folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    monkeypatch.setattr(pull, "STAYS_FREE_BYTES", -(100 * MIB))
    yield puller.folder
    subprocess.run(["umount", "-l", str(puller.folder)], check=True)


def test_a_disk_that_becomes_full_keeps_what_is_here_and_goes_on_once_there_is_room(
    puller: Puller, small_disk: Path
) -> None:
    content = puller.publish(size=5 * MIB)
    with pytest.raises(NoSpace, match="The disk is full") as caught:
        puller.pull()
    here = (small_disk / "one.gguf.part").stat().st_size
    assert 1 * MIB < here < 3 * MIB
    assert f"{here / 1e6:.0f} MB of {5 * MIB / 1e6:.0f} MB are in" in caught.value.detail
    assert f"{(5 * MIB - here) / 1e6:.0f} MB are missing" in caught.value.title
    os.sync()
    assert os.statvfs(small_disk).f_bavail > 0  # others have room for their last words
    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
    puller.hub.parts.clear()
    puller.pull()
    assert puller.fetched(content)
    assert puller.hub.parts[-1][0] == here


def test_a_disk_that_is_found_full_only_when_it_is_waited_for_is_told_of_too(
    puller: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = puller.publish()

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".part":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(NoSpace, match="The disk is full") as caught:
            puller.pull()
    assert "Make room" in caught.value.hint
    assert puller.names == ["one.gguf.part", "one.gguf.part.json"]
    puller.pull()
    assert puller.fetched(content)


def test_a_disk_that_fails_is_told_of_before_all_has_come(puller: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    puller.publish(size=8_000_000)
    puller.hub.bytes_per_s = 10_000_000

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(checksum, "_SYNC_BYTES", MIB)
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(BackendError, match="cannot be written") as caught:
        puller.pull()
    assert "Input/output error" in caught.value.detail
    assert puller.hub.sent < 6_000_000


def test_a_disk_that_takes_no_file_so_large_is_told_of(puller: Puller) -> None:
    puller.publish(size=3 * MIB)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        with pytest.raises(BackendError, match="cannot be written") as caught:
            puller.pull()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert "no file that large" in caught.value.hint
    assert (puller.folder / "one.gguf.part").stat().st_size == MIB


def test_a_folder_that_cannot_be_written_is_told_of(puller: Puller) -> None:
    puller.publish()
    puller.folder.write_bytes(b"a file")
    with pytest.raises(BackendError, match="cannot be written") as caught:
        puller.pull()
    assert str(puller.folder.name) in caught.value.detail


def test_a_disk_that_is_only_for_reading_is_told_of(puller: Puller, small_disk: Path) -> None:
    puller.publish()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(BackendError, match="Read-only file system"):
        puller.pull()
