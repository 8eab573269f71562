"""A small file is replaced in one step, or stays as it is."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from backends import atomic


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder/one.json"


def beside(place: Path) -> list[str]:
    return [path.name for path in place.parent.iterdir()]


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_only_its_owner_may_read_it(place: Path, durable: bool) -> None:
    place.write_bytes(b"old")
    left = place.with_name(".one.json.new")
    left.touch(0o600)
    left.write_bytes(b"what a killed writer has left, longer than what comes")
    atomic.replace(place, b"new", durable=durable)
    assert place.read_bytes() == b"new"
    assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0
    assert beside(place) == ["one.json"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_what_the_disk_refuses_leaves_the_old_file_and_nothing_beside_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place.write_bytes(b"old")
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", refuse)
    else:
        monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        atomic.replace(place, b"new", durable=True)
    assert place.read_bytes() == b"old"
    assert beside(place) == ["one.json"]


def test_nobody_else_s_file_is_written_through_a_link(place: Path) -> None:
    mine = place.with_name("mine")
    mine.write_bytes(b"mine")
    place.with_name(".one.json.new").symlink_to(mine)
    with pytest.raises(OSError, match="symbolic links"):
        atomic.replace(place, b"new")
    assert mine.read_bytes() == b"mine"


def test_its_name_is_safe_before_it_returns(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    atomic.replace(place, b"new", durable=True)
    assert synced == [place.with_name(".one.json.new"), place.parent]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_never_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "link", refuse)
    whole, place = tmp_path / ".new", tmp_path / "place"
    whole.write_text("one")
    atomic.put_new(whole, place)
    assert place.read_text() == "one"
    whole.write_text("two")
    with pytest.raises(FileExistsError):
        atomic.put_new(whole, place)
    assert place.read_text() == "one"
