"""What is our own of all that this process writes: in the kernel's own count, so that the rest is nobody's of ours."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from backends import atomic
from backends.hardware.process_io import counts
from backends.own_writes import own_writes, written


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder whose writes the kernel counts."""
    before = counts().written_bytes
    put(tmp_path / "first", 100)
    if before is None or counts().written_bytes == before:
        pytest.skip("here nothing is counted: no /proc, or a file system in memory")
    return tmp_path


def put(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())


def whole() -> int:
    return counts().written_bytes or 0


def test_what_is_written_inside_is_our_own_to_the_byte(disk: Path) -> None:
    own, all_of_it = written(), whole()
    with own_writes():
        put(disk / "ours", 1_000_000)
    assert written() - own == whole() - all_of_it >= 1_000_000


def test_what_is_written_outside_is_not(disk: Path) -> None:
    own = written()
    put(disk / "others", 1_000_000)
    assert written() == own


def test_one_byte_more_counts_as_the_page_that_the_kernel_counts(disk: Path) -> None:
    with (disk / "log").open("ab", buffering=0) as log:
        for _ in range(3):
            own, all_of_it = written(), whole()
            with own_writes():
                log.write(b"x")
                os.fsync(log.fileno())
            assert written() - own == whole() - all_of_it > 1


def test_a_block_inside_another_counts_once(disk: Path) -> None:
    own, all_of_it = written(), whole()
    with own_writes():
        atomic.replace(disk / "small", bytes(50_000), durable=True)
    assert written() - own == whole() - all_of_it


def test_a_long_write_is_ours_while_it_is_under_way(disk: Path) -> None:
    half, over = threading.Event(), threading.Event()
    own = written()

    def write() -> None:
        with own_writes():
            put(disk / "half", 2_000_000)
            half.set()
            over.wait(10)

    writer = threading.Thread(target=write)
    writer.start()
    assert half.wait(10)
    assert written() - own >= 2_000_000
    over.set()
    writer.join()
    assert 2_000_000 <= written() - own < 4_000_000


def test_a_write_that_fails_is_counted_as_far_as_it_came(disk: Path) -> None:
    own = written()
    with pytest.raises(FileNotFoundError), own_writes():
        [put(path, 500_000) for path in (disk / "some", disk / "missing" / "some")]
    assert written() - own >= 500_000
