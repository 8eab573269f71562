"""A window that is dragged, its size another one a hundred times a second: the screen keeps calm, and ends right."""

from __future__ import annotations

import time

from tests.e2e.conftest import Terminal
from tests.e2e.test_the_line_is_cut import cpu_s

CHANGES, SECONDS = 200, 2.0
CPU_S = 1.0


def test_two_hundred_sizes_in_two_seconds_cost_little_and_the_last_one_is_drawn(terminal, echo) -> None:
    echo(text=" ".join(f"word{number}" for number in range(300)), tokens_per_second=2000)
    screen: Terminal = terminal("-p", "demo", "--profile", "ssh", width=100, height=30)
    screen.ask("talk")
    screen.see("word299.*\n[\\s\\S]*saved")
    screen.read(1)
    before = cpu_s(screen.child.pid)
    began = time.monotonic()
    for number in range(CHANGES):
        screen.child.setwinsize(20 + number % 13, 60 + number % 37)
        time.sleep(max(0.0, began + (number + 1) * SECONDS / CHANGES - time.monotonic()))
        screen.read(0)
    screen._screen.reset()
    screen.resize(90, 28)
    screen.see("word299[\\s\\S]*saved", 1.5)
    used = cpu_s(screen.child.pid) - before
    print(f"{used:.2f} s")
    assert used <= CPU_S
    shown = screen.text
    screen.draw_anew()
    assert screen.text == shown


def test_a_window_of_no_size_and_one_of_every_size_are_survived(terminal, echo) -> None:
    echo(text="fine")
    screen: Terminal = terminal("-p", "demo", width=100, height=30)
    screen.see("Ask anything")
    for width, height in ((1, 1), (0, 0), (2, 1), (65535, 65535), (1, 500)):
        screen.child.setwinsize(height, width)
        screen.read(0.4)
        assert screen.child.isalive()
    screen._screen.reset()
    screen.resize(100, 30)
    screen.ask("still there?")
    screen.see("(?s)You.*still there.*saved")
