"""Whatever a terminal sends: bytes of no text, keys that do not exist, half a character, pastes. The screen stays."""

from __future__ import annotations

import os

JUNK = (
    b"\xff",
    b"\xf0\x9f",  # the beginning of a character
    b"\x1b[99999999u",
    b"\x1b[97;1;99999999u",
    b"\x1b[97;1;55296u",  # a key that would be half of a surrogate pair
    b"\x1b[1:::;2u",
    b"\x1b[48;0;0;0;0t",  # a window of no size
    b"\x1b[<0;99999;99999M",
    b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\",  # answers to somebody else
    b"\x1bP>|XTerm(390)\x1b\\",
    b"\x1b[?62;22c",
)


def test_junk_is_passed_over_and_what_is_typed_after_it_is_there(terminal, echo) -> None:
    echo()
    screen = terminal("-p", "demo")
    screen.see("Ask anything")
    for junk in JUNK:
        os.write(screen.child.child_fd, junk)
        screen.read(0.15)
    screen.ask("still here")
    screen.see("(?s)You .*still here.*saved")
    assert ">|" not in screen.text
    assert "62;22" not in screen.text


def test_lines_pasted_without_brackets_are_sent_by_nothing_but_the_enter_that_is_pressed(terminal, echo) -> None:
    echo()
    screen = terminal("-p", "demo")
    screen.see("Ask anything")
    screen.type("first line\rsecond line\rthird line\r")
    screen.see("(?s)first line.*second line.*third line")
    screen.read(0.5)
    assert "You" not in screen.text
    assert screen.text.count("second line") == 1
    screen.press("enter")
    screen.see(r"(?s)You.*first line.*second line.*third line.*saved")


def test_a_paste_that_never_ends_ends_and_what_is_typed_then_is_there(terminal, echo) -> None:
    echo()
    screen = terminal("-p", "demo")
    screen.see("Ask anything")
    screen.type("\x1b[200~a begun paste")
    screen.see("a begun paste", 3)
    screen.ask(" and its end")
    screen.see("(?s)You .*a begun paste and its end.*saved")


def test_what_no_terminal_takes_in_at_once_is_cut_and_said(terminal, echo) -> None:
    echo()
    screen = terminal("-p", "demo")
    screen.see("Ask anything")
    screen.type("\x1b[200~")
    for _ in range(11):
        screen.type("0123456789" * 10_000)
        screen.read(0.01)
    screen.type("\x1b[201~")
    screen.see("(?s)The paste was too long.*1,000,000")
