"""Exported files: whole or not at all, for their owner alone, and never over another one unasked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import paths
from tui.chat.exporting.export_file import CannotWrite, file_name, folder, write
from tui.chat.storing import copying
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation, new_id


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An empty folder."""
    return folder(tmp_path / "empty")


def test_a_file_is_for_its_owner_alone_and_not_replaced_unasked(empty: Path) -> None:
    target = empty / "chat.md"
    write(target, ["one ", "天\n"])
    assert target.read_text(encoding="utf-8") == "one 天\n"
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CannotWrite, match="already") as problem:
        write(target, ["two"])
    assert "--force" in problem.value.hint
    assert target.read_text(encoding="utf-8") == "one 天\n"
    write(target, ["two"], over=True)
    assert target.read_text(encoding="utf-8") == "two"
    assert names(empty) == ["chat.md"]


def test_what_fails_on_the_way_leaves_nothing(empty: Path) -> None:
    def pieces() -> Iterator[str]:
        yield "half"
        raise KeyError

    target = empty / "chat.md"
    target.write_text("old")
    for place in (target, empty / "new.md"):
        with pytest.raises(KeyError):
            write(place, pieces(), over=True)
    assert names(empty) == ["chat.md"]
    assert target.read_text() == "old"


def test_a_file_that_comes_meanwhile_is_not_replaced(empty: Path) -> None:
    target = empty / "chat.md"

    def pieces() -> Iterator[str]:
        target.write_text("another's")
        yield "mine"

    with pytest.raises(CannotWrite, match="already"):
        write(target, pieces())
    assert target.read_text() == "another's"
    assert names(empty) == ["chat.md"]


def test_a_link_stays_a_link_and_what_is_no_file_is_left_alone(empty: Path) -> None:
    (empty / "link.md").symlink_to(empty / "real.md")
    write(empty / "link.md", ["x"])
    assert (empty / "link.md").is_symlink()
    assert (empty / "real.md").read_text() == "x"
    os.mkfifo(empty / "pipe")
    for place in (empty / "pipe", empty):
        with pytest.raises(CannotWrite, match="no ordinary file"):
            write(place, ["x"], over=True)
    with pytest.raises(CannotWrite, match="No such file"):
        write(empty / "nowhere" / "x.md", ["x"])
    with pytest.raises(CannotWrite, match="cannot be made"):
        folder(empty / "real.md")
    assert folder(empty / "a" / "b").stat().st_mode & 0o777 == 0o700


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5), st.floats(allow_nan=False, allow_infinity=False))
def test_names_are_distinct_and_mean_nothing_to_a_shell(titles: list[str], moment: float) -> None:
    taken: set[str] = set()
    start = new_id()[:20]  # Ids that begin alike.
    chats = [Conversation(f"{start}{n:04}", title, moment, 0, None, None) for n, title in enumerate(titles)]
    made = [file_name(chat, "md", taken) for chat in chats]
    assert len({name.lower() for name in made}) == len(made)
    for name in made:
        assert len(name.encode()) <= 255
        assert name.startswith("undated-") or name[:4].isdecimal()
        assert all(character.isalnum() or character in "-." for character in name)
        assert ".." not in name


def test_a_name_as_long_as_a_name_can_be_is_no_obstacle(empty: Path) -> None:
    name = "𠮷" * 62 + ".md"
    write(empty / name, ["words"])
    Store().close()
    copying.copy(paths.database(), empty / name)
    assert names(empty) == [name]
