"""What is kept between loads: private, bounded, and never a reason for a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends import paths, remembered

ROOT = Path(__file__).parents[2]


def kept() -> Path:
    return paths.cache() / "remembered.json"


def test_what_is_written_is_read_again_by_kind_and_key() -> None:
    assert remembered.read("threads", "a") is None
    remembered.write("threads", "a", {"decode": 2})
    remembered.write("template", "a", True)
    remembered.write("threads", "b", 7)
    remembered.write("threads", "b", 8)
    assert remembered.read("threads", "a") == {"decode": 2}
    assert (remembered.read("template", "a"), remembered.read("threads", "b")) == (True, 8)
    assert remembered.read("layers", "a") is None


def test_only_its_owner_may_look(home: Path) -> None:
    before = os.umask(0)
    try:
        remembered.write("threads", "a", 1)
    finally:
        os.umask(before)
    assert paths.cache().stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in paths.cache().iterdir()} == {0o600}


def test_of_each_kind_the_oldest_are_dropped() -> None:
    for number in range(205):
        remembered.write("threads", str(number), number)
        if number == 100:
            remembered.write("threads", "0", "again")
    remembered.write("layers", "x", 1)
    assert remembered.read("threads", "5") is None
    assert remembered.read("threads", "6") == 6
    assert remembered.read("threads", "0") == "again"
    assert remembered.read("layers", "x") == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b'{"threads": 5}', b"\xff\xfe\x00", b"[" * 100_000, b" " * 2_000_000]
)
def test_a_damaged_file_counts_as_empty_and_is_replaced(content: bytes) -> None:
    paths.private(paths.cache())
    kept().write_bytes(content)
    assert remembered.read("threads", "a") is None
    remembered.write("threads", "a", 1)
    assert remembered.read("threads", "a") == 1


def test_a_folder_that_cannot_be_written_raises_nothing() -> None:
    paths.cache().parent.mkdir(parents=True, exist_ok=True)
    paths.cache().write_text("a file in the way")
    remembered.write("threads", "a", 1)
    assert remembered.read("threads", "a") is None


def test_the_file_is_replaced_in_one_step_and_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    paths.private(paths.cache())
    (paths.cache() / ".remembered.json.new").symlink_to(other)
    remembered.write("threads", "a", 1)
    assert other.read_text() == "mine"
    remembered.write("threads", "a", 1)
    first = kept().stat().st_ino
    remembered.write("threads", "b", 2)
    assert kept().stat().st_ino != first


def test_hosts_that_write_at_once_lose_nothing(home: Path) -> None:
    code = "import sys\nfrom backends import remembered\n" + (
        "for number in range(40): remembered.write('threads', f'{sys.argv[1]}-{number}', number)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, name], cwd=ROOT) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert all(remembered.read("threads", f"{name}-{number}") == number for name in "abc" for number in range(40))


def test_a_model_file_that_changed_has_another_key(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"one")
    key = remembered.key_of_model(file, 4096, "q8_0")
    assert key == remembered.key_of_model(file, 4096, "q8_0")
    (tmp_path / "link.gguf").symlink_to(file)
    assert remembered.key_of_model(tmp_path / "link.gguf", 4096, "q8_0") == key
    assert remembered.key_of_model(file, 8192, "q8_0") != key
    file.write_bytes(b"another")
    assert remembered.key_of_model(file, 4096, "q8_0") != key
    file.unlink()
    assert remembered.key_of_model(file, 4096, "q8_0") != key
