"""Where files are mapped in this process, and which byte of which file is at an address."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from backends.llama_cpp.streaming.maps import Mapped, maps_of, place_of

PAGE = mmap.PAGESIZE


def table_of(file: Path, *, device: str = "", inode: int = 0, name: str = "") -> Path:
    """Write what the kernel tells of a file that is mapped in two pieces, and of others."""
    status = file.stat()
    device = device or f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    inode, name = inode or status.st_ino, name or str(file)
    table = file.with_name("maps")
    table.write_text(
        "555500000000-555500001000 r--p 00000000 fe:00 11   /usr/bin/python3\n"
        f"7f0000000000-7f0000100000 r--s 00000000 {device} {inode}   {name}\n"
        f"7f0000200000-7f0000300000 r--s 00200000 {device} {inode}   {name}\n"
        "7f0000400000-7f0000500000 r--s 00000000 00:99 7    /other.gguf\n"
        "7f0000600000-7f0000700000 rw-p 00000000 00:00 0 \n"
        "short line\n"
    )
    return table


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a model.gguf"
    file.write_bytes(b"x")
    return file


def test_an_address_is_found_in_its_piece_of_the_file(file: Path) -> None:
    maps = maps_of([file, file.with_name("missing")], table_of(file))
    assert maps == (
        Mapped(file, 0x7F0000000000, 0, 0x100000),
        Mapped(file, 0x7F0000200000, 0x200000, 0x300000),
    )
    assert place_of(0x7F0000000005, maps) == (file, 5)
    assert place_of(0x7F0000200005, maps) == (file, 0x200005)
    assert place_of(0x7F0000100000, maps) is None
    assert place_of(0x7F00001FFFFF, maps) is None


def test_a_file_is_known_by_its_device_and_inode_or_by_its_path(file: Path) -> None:
    assert len(maps_of([file], table_of(file, name="/elsewhere/by another name.gguf"))) == 2
    assert len(maps_of([file], table_of(file, device="00:7f"))) == 2
    assert len(maps_of([file], table_of(file, device="00:7f", inode=7))) == 2
    assert maps_of([file], table_of(file, device="00:7f", name="/another/file")) == ()


def test_a_link_is_the_file_it_leads_to(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    assert maps_of([link], table_of(file))[0].file == link


def test_what_cannot_be_told_is_left_out(file: Path) -> None:
    table = table_of(file)
    assert maps_of([file.with_name("absent")], table) == ()
    assert maps_of([file], file.with_name("no table")) == ()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not tell what is mapped")
def test_a_file_that_is_mapped_here_is_found(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(bytes(3 * PAGE))
    assert maps_of([file]) == ()
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ):
        (mapped,) = maps_of([file])
        assert (mapped.start, mapped.end) == (0, 3 * PAGE)
        assert place_of(mapped.address + PAGE, [mapped]) == (file, PAGE)
