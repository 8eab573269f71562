"""A lock that a process holds as long as it lives, and whose number is in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from backends import lock_file


def test_it_is_held_until_its_holder_lets_go(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not lock_file.held(lock)
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    assert not lock_file.held(lock)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert lock_file.held(lock)
    os.close(descriptor)
    assert not lock_file.held(lock)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"4711", 4711),
        (b"", None),
        (b"x", None),
        (b"\xff", None),
        (b"0", None),
        (b"1", None),
        (b"-1", None),
        (b"7" * 500, None),
    ],
)
def test_a_number_that_would_end_many_is_nobodys(tmp_path: Path, content: bytes, expected: int | None) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert lock_file.holder(tmp_path / "lock") == expected


def test_of_a_file_that_is_not_there_nobody_is_the_holder(tmp_path: Path) -> None:
    assert lock_file.holder(tmp_path / "lock") is None
