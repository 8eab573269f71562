"""What comes in many lines at once is taken whole and sends nothing; wide letters stand where the cursor says."""

from __future__ import annotations

import time

import pytest

from tests.e2e.conftest import Terminal

LINES = ["first line", "", "  then code: x[1] = 'é'", "你好", "the last one"]


@pytest.fixture
def screen(terminal, echo) -> Terminal:
    echo(text="fine")
    opened: Terminal = terminal("-p", "demo")
    opened.see("Demo · echo │")
    return opened


def send(screen: Terminal, raw: bytes, piece: int) -> None:
    for start in range(0, len(raw), piece):
        screen.child.ptyproc.write(raw[start : start + piece])
        if piece < 100:
            time.sleep(0.001)


def test_a_bracketed_paste_in_small_pieces_is_taken_as_it_is(screen: Terminal) -> None:
    end = "\r\n"
    send(screen, f"\x1b[200~{end.join(LINES)}{end}\x1b[201~".encode(), 7)
    text = screen.see(r"> first line\s*│\s*│?.*\n.*\n.*  then code: x\[1\] = 'é'")
    assert text.count("first line") == 1
    screen.see("the last one")
    screen.read(0.3)
    assert "saved" not in screen.text
    screen.press("enter")
    screen.see("saved")


def test_a_paste_without_brackets_sends_nothing_either(screen: Terminal) -> None:
    send(screen, "\r".join(LINES).encode() + b"\r", 4096)
    screen.see("> first line")
    screen.see("the last one")
    screen.read(0.5)
    assert "saved" not in screen.text


def test_the_terminals_cursor_stands_behind_what_is_typed_however_wide_it_is(screen: Terminal) -> None:
    """An input method shows there what it composes."""
    screen.read(0.3)
    cursor = screen._screen.cursor
    start = cursor.x, cursor.y
    assert screen.text.splitlines()[start[1]][: start[0]].endswith("> ")
    for text, cells in (("你好", 4), ("e\u0301a", 2), ("👍x", 3), ("한글", 4), ("ﾊﾝ", 2), ("a你b", 4)):
        screen.type(text)
        screen.read(0.3)
        assert (cursor.x, cursor.y) == (start[0] + cells, start[1]), text
        screen.type("\x1b[D")
        screen.read(0.3)
        assert start[0] < cursor.x < start[0] + cells, text
        screen.type("\x1b[C" + "\x7f" * len(text))
        screen.read(0.3)
        assert cursor.x == start[0], text
    screen.type("one\x0atwo\x0a你")  # It grows, and is moved up.
    screen.see("two")
    screen.read(0.3)
    assert (cursor.x, cursor.y) == (start[0] + 2, start[1])
