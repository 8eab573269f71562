"""The line stalls: nothing is read of what the screen writes. The answer goes on, nothing grows, and nothing hangs."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import paths
from tests.e2e.conftest import Terminal

WORDS = [f"word{number}" for number in range(400)]
GROWTH_BYTES = 5 * 1024 * 1024


def memory_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def stored() -> tuple[str, str]:
    """Return the state and the text of the last answer."""
    with contextlib.closing(sqlite3.connect(paths.database())) as database:
        query = "SELECT state, text FROM message WHERE role = 'assistant' ORDER BY rowid DESC LIMIT 1"
        state, text = database.execute(query).fetchone()
    return state, text


@pytest.fixture
def talking(terminal, echo) -> Callable[[], Terminal]:
    """Start a screen whose model talks, and read until it does."""

    def start(tokens_per_second: float = 100) -> Terminal:
        echo(text=" ".join(WORDS), tokens_per_second=tokens_per_second)
        screen = terminal("-p", "demo")
        screen.ask("talk")
        screen.see("word20")
        return screen

    return start


def test_the_answer_goes_on_and_is_stored_memory_stays_and_what_is_read_later_is_right(talking) -> None:
    screen = talking()
    before = memory_bytes(screen.child.pid)
    os.write(screen.child.child_fd, b"typed blindly")
    deadline = time.monotonic() + 20
    while stored()[0] == "streaming":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert stored() == ("done", " ".join(WORDS))
    assert memory_bytes(screen.child.pid) - before <= GROWTH_BYTES
    screen.see(r"(?s)word399.*typed blindly.*saved", 1.5)
    screen.see(r"│   [\d.]+ tok/s")  # The list of presets tells it a moment later.
    shown = screen.text
    screen.draw_anew()
    assert screen.text == shown


def test_cut_while_it_is_stalled_the_screen_is_gone(talking) -> None:
    screen = talking()
    time.sleep(1)
    screen.cut()
    screen.gone()


@pytest.mark.parametrize("how", ["asked to end", "left by its key"])
def test_stalled_it_still_ends(talking, how: str) -> None:
    screen = talking()
    time.sleep(1)
    if how == "asked to end":
        os.kill(screen.child.pid, signal.SIGTERM)
    else:
        os.write(screen.child.child_fd, b"\x11\x11")
    screen.gone(4.0)


def test_frames_that_were_dropped_are_not_taken_for_drawn_over_a_line(terminal, echo) -> None:
    echo(text=" ".join(WORDS), tokens_per_second=100)
    screen = terminal("-p", "demo", SSH_CONNECTION="10.0.0.1 2 10.0.0.2 22")
    screen.ask("talk")
    screen.see("word20")
    for pause in (0.0, 0.05, 0.3):  # It reads again in the middle of what is drawn.
        for _ in range(16):
            os.write(screen.child.child_fd, b"\x0c")  # The lists come and go: nearly all is drawn anew.
            time.sleep(0.06)
        screen.read(pause)
    screen.see(r"(?s)word399.*saved")
    screen.read(2.5)
    shown = screen.text
    screen.draw_anew()
    assert screen.text == shown
