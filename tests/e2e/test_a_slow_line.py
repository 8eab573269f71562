"""A terminal that is half a second away: growing text waits until it has come so far, and what is typed does not."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from tests.e2e.conftest import KEYS, Terminal
from tui.line.pacing import QUESTION

ANSWER = b"\x1b[0n"
DELAY_S = 0.5


def answering(screen: Terminal, seconds: float, answered: int = 0, keys: Sequence[str] = ()) -> int:
    """Read for so long, and answer what is asked half a second later; return how many questions were answered.

    `keys` are pressed meanwhile, as fast as a key repeats that is held down.
    """
    until, due, pressed = time.monotonic() + seconds, [], iter(keys)
    while time.monotonic() < until:
        os.write(screen.child.child_fd, next(pressed, "").encode())
        screen.read(0.02)
        asked = screen.raw.count(QUESTION)
        assert asked - answered <= 1, "one question at a time"
        if asked > answered + len(due):
            due.append(time.monotonic() + DELAY_S)
        if due and time.monotonic() >= due[0]:
            due.pop()
            answered += 1
            os.write(screen.child.child_fd, ANSWER)
    return answered


def test_text_grows_as_fast_as_the_line_takes_it_and_typing_does_not_wait(terminal, echo) -> None:
    echo(text=" ".join(f"word{number}" for number in range(400)), tokens_per_second=100)
    screen = terminal("-p", "demo", "--profile", "ssh")
    screen.see("Ask anything")
    answered = answering(screen, 1.0)
    assert answered == 1, "asked once when the terminal was taken over"
    screen.type("talk\r")
    before = len(screen.raw)
    grown = answering(screen, 3.0, answered) - answered
    assert 2 <= grown <= 3.0 / DELAY_S + 1
    # The line stands still for a moment; what is typed is seen all the same.
    began = time.monotonic()
    screen.type("typed")
    screen.see("typed", 1.0)
    assert time.monotonic() - began < DELAY_S
    assert len(screen.raw) - before < 40_000
    answering(screen, 2.0, answered + grown)
    assert "word399" in screen.text


def test_a_terminal_that_does_not_answer_is_asked_once_and_nothing_waits_or_is_stopped(terminal, echo) -> None:
    echo(text=" ".join(f"word{number}" for number in range(200)), tokens_per_second=100)
    screen = terminal("-p", "demo", "--profile", "ssh")
    screen.ask("talk")
    screen.see("word10")
    # A cursor key that comes in two pieces is no Esc, which would stop the answer.
    os.write(screen.child.child_fd, b"\x1b")
    time.sleep(0.1)  # not in reading, which may take longer
    os.write(screen.child.child_fd, b"[A")
    screen.see("(?s)word199.*saved", 4.0)
    assert "topped" not in screen.text
    assert screen.raw.count(QUESTION) == 1


def test_a_key_held_down_is_over_when_it_is_let_go(terminal, echo) -> None:
    echo(text="short")
    screen = terminal("-p", "demo", "--profile", "ssh")
    screen.see("Ask anything")
    answered = answering(screen, 1.0)
    screen.press("f1")
    answered = answering(screen, 1.0, answered)
    before = len(screen.raw)
    keys = [KEYS["down"]] * 40 + [KEYS["up"]] * 5
    answered = answering(screen, 1.5 + 3 * DELAY_S, answered, keys)
    assert len(screen.raw) - before < 20_000
    shown = screen.text
    screen.draw_anew()
    answering(screen, 2 * DELAY_S, answered)
    assert screen.text == shown
