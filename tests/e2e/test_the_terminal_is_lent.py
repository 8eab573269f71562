"""The terminal is lent to another program, an editor say: nothing of ours gets in there, and afterwards all is back."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Terminal

PROGRAM = """
import asyncio
from textual.app import App
from textual.widgets import Static
from tui.line.driver import LineDriver

class Lending(App):
    CSS = "Static { height: 1fr }"
    count = 0

    def __init__(self):
        super().__init__(driver_class=LineDriver)

    def compose(self):
        yield Static("standing", id="standing")
        yield Static("", id="moving")

    def on_mount(self):
        self.set_interval(0.02, self.draw)

    def draw(self):
        self.count += 1
        self.query_one("#moving").update(f"count {self.count}")

    async def key_e(self):
        with self.suspend():
            before = self.count
            editor = await asyncio.create_subprocess_exec("sh", "-c", "printf 'IN THE EDITOR'; sleep 1; read word")
            await editor.wait()
            self.query_one("#standing").update(f"counted {self.count - before > 30}")

Lending().run()
"""


def lending(terminal, home: Path) -> Terminal:
    (home / "program.py").write_text(PROGRAM)
    shell = home / "shell"
    shell.write_text(f"#!/bin/sh\nexec {sys.executable} {home / 'program.py'}\n")
    shell.chmod(0o755)
    screen: Terminal = terminal(program=str(shell), width=60, height=10)
    screen.see(r"standing[\s\S]*count \d\d")
    return screen


def test_an_editor_has_the_terminal_for_itself_and_then_the_screen_is_whole_again(terminal, home: Path) -> None:
    screen = lending(terminal, home)
    screen.type("e")
    screen.see("IN THE EDITOR")
    screen.read(1)
    lent = screen.raw.rpartition("\x1b[?1004l")[2]
    assert lent == "IN THE EDITOR"
    screen.type("\n")
    screen.see(r"counted True[\s\S]*count \d\d")
    assert "EDITOR" not in screen.text
    counted = re.search(r"count (\d+)", screen.text)
    assert counted is not None
    screen.see_gone(counted[0])


@pytest.mark.parametrize("stop", [signal.SIGTSTP, signal.SIGSTOP])
def test_stopped_and_continued_as_shells_do_it_the_screen_is_whole_again(
    terminal, home: Path, stop: signal.Signals
) -> None:
    screen = lending(terminal, home)
    os.kill(screen.child.pid, stop)
    screen.read(0.5)
    assert screen.raw.endswith("\x1b[?1004l") == (stop == signal.SIGTSTP)
    screen._stream.feed("\x1b[2J")  # The shell has written over it.
    os.kill(screen.child.pid, signal.SIGCONT)
    screen.see(r"standing[\s\S]*count \d\d")
    counted = re.search(r"count (\d+)", screen.text)
    assert counted is not None
    screen.see_gone(counted[0])
    threads = [(one / "comm").read_text() for one in Path(f"/proc/{screen.child.pid}/task").iterdir()]
    assert len(threads) == 3, "one draws, one writes, one reads"
