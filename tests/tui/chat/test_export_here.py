"""A chat exported at a key: into a folder that can be written, under a name of its own, over nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.commands.chats_here import begin
from tui.chat.exporting import export_here
from tui.chat.exporting.export_file import CannotWrite
from tui.chat.storing.store import Store


@pytest.fixture
def store(home: Path) -> Store:
    return Store()


def test_it_is_markdown_readable_by_its_owner_alone_and_never_over_another(store: Store, tmp_path: Path) -> None:
    chat = begin("Why is the sky blue?", "And red?")
    written = [export_here.export_here(store, chat, [tmp_path]) for _ in range(3)]
    assert len(set(written)) == 3
    assert all(path.parent == tmp_path and "why-is-the-sky-blue" in path.name for path in written)
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    text = written[0].read_text()
    assert text.startswith("---\n")
    assert "And red?" in text


def test_it_goes_to_the_next_folder_where_the_first_cannot_be_written(store: Store, tmp_path: Path) -> None:
    chat = begin("Why?")
    there = export_here.export_here(store, chat, [tmp_path / "not there", tmp_path])
    assert there.parent == tmp_path
    with pytest.raises(CannotWrite):
        export_here.export_here(store, chat, [tmp_path / "not there"])


def test_a_link_of_the_same_name_is_not_followed(store: Store, tmp_path: Path) -> None:
    chat = begin("Why?")
    first = export_here.export_here(store, chat, [tmp_path])
    first.unlink()
    first.symlink_to(tmp_path / "elsewhere")
    again = export_here.export_here(store, chat, [tmp_path])
    assert again != first
    assert not (tmp_path / "elsewhere").exists()


def test_the_folders_are_where_one_is_and_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    assert list(export_here.folders()) == [gone, Path.home()]
    gone.rmdir()
    assert list(export_here.folders()) == [Path.home()]
