"""The terminal's size: believed within reason, and looked at when a window has come to rest."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import termios

import pytest

from tui.line.resizing import Resizing, size_of


@pytest.mark.parametrize(
    ("columns", "lines", "environment", "expected"),
    [
        (80, 24, {"COLUMNS": "132", "LINES": "50"}, (80, 24)),
        (0, 0, {"COLUMNS": "132", "LINES": "50"}, (132, 50)),
        (0, 0, {"COLUMNS": "-1", "LINES": "many"}, (80, 24)),
        (0, 0, {"COLUMNS": "99999999999999", "LINES": "0"}, (80, 24)),
        (1, 1, {}, (1, 1)),
        (65535, 65535, {}, (1000, 500)),
    ],
)
def test_the_size_is_what_the_terminal_says_within_reason(
    columns: int, lines: int, environment: dict[str, str], expected: tuple[int, int]
) -> None:
    far, near = pty.openpty()
    try:
        fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        assert size_of(near, environment) == expected
    finally:
        os.close(far)
        os.close(near)


def test_what_is_no_terminal_has_the_usual_size() -> None:
    assert size_of(-1, {}) == (80, 24)


async def test_a_storm_of_changes_is_told_now_and_then_and_once_at_its_end() -> None:
    told: list[float] = []
    loop = asyncio.get_running_loop()
    resizing = Resizing(loop, 0.05, lambda: told.append(loop.time()))
    for _ in range(60):
        resizing.changed()
        await asyncio.sleep(0.01)
    last = loop.time()
    await asyncio.sleep(0.15)
    assert 2 <= len(told) <= 60 * 0.02 / 0.25 + 3
    assert told[-1] > last
