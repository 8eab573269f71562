"""The file of the conversations goes, comes back or cannot be written: the screen says so, and keeps what was said."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WORDS = " ".join(f"word{number}" for number in range(100))


def test_a_database_that_goes_while_an_answer_streams_is_told_and_saved_when_it_is_back(
    terminal, echo, home: Path
) -> None:
    echo(text=WORDS, tokens_per_second=60)
    screen = terminal("-p", "demo", width=150)
    screen.ask("talk")
    screen.see("word20")
    path = home / "data" / "chats.sqlite3"
    path.rename(path.with_name("elsewhere"))
    screen.see(r"✗ not saved: .*chats.sqlite3 is not the file", 10)
    screen.see("word99")
    path.with_name("elsewhere").rename(path)
    screen.see(r"│ saved")
    screen.see("word99")


def test_an_idle_screen_whose_database_is_replaced_says_so_and_keeps_what_is_typed(terminal, echo, home: Path) -> None:
    echo(text="fine")
    screen = terminal("-p", "demo", width=150)
    screen.ask("hello")
    screen.see("saved")
    path = home / "data" / "chats.sqlite3"
    shutil.copyfile(path, path.with_name("copy"))
    path.with_name("copy").rename(path)
    screen.ask("once more")
    screen.see("deleted or replaced while they are open")
    screen.see("> once more")
    screen.leave()
    screen = terminal("-p", "demo")
    screen.see("hello")
    screen.ask("once more")
    screen.see("(?s)once more.*fine.*saved")


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    mounted: list[Path] = []

    def make(folder: Path) -> None:
        bind = ["mount", "--bind", str(folder), str(folder)]
        if shutil.which("mount") is None or subprocess.run(bind, check=False, capture_output=True).returncode:
            pytest.skip("needs the right to mount")
        mounted.append(folder)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("folder", ["data", "state"])
def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_sent(
    terminal, echo, home: Path, folder: str, read_only: Callable[[Path], None]
) -> None:
    echo(text="fine")
    screen = terminal("-p", "demo")
    screen.ask("hello")
    screen.see("saved")
    screen.leave()
    read_only(home / folder)
    screen = terminal("-p", "demo", width=150)
    screen.see("The conversations cannot be" if folder == "data" else "hello")
    screen.ask("lost?")
    screen.see("Your text stays here" if folder == "data" else "could not be kept, so nothing was sent")
    screen.see(r"> lost\?")
    assert list((home / "state" / "spool").iterdir()) == []
