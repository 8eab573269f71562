"""What the screens send over an SSH line: little while something happens, next to nothing while nothing does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import fake_driver

if TYPE_CHECKING:
    from tests.e2e.conftest import Terminal

CARD = (
    "cards 1\ntotal0 8000000000\nfree0 2300000000\ntext0 RTX 3070\ndriver 550.54\nprocesses 3\n"
    "epoch 0\nprofile0 0 120 1000000000 120\nbusy0 97\ncelsius0 71\nlimit0 220000\n"
)
BUSY = 20_000
IDLE = 1_000


@pytest.fixture
def card(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with one card."""
    return fake_driver.environment(tmp_path / "driver", CARD)


def sent(screen: Terminal, seconds: float) -> float:
    """Return the bytes a second that the program writes, over so many seconds."""
    before = len(screen.raw)
    screen.read(seconds)
    rate = len(screen.raw[before:].encode()) / seconds
    print(f"{rate:,.0f} bytes/s")
    return rate


def test_a_view_over_an_answer_does_not_paint_the_answer_under_it(terminal, echo, card) -> None:
    echo(text="word " * 900, tokens_per_second=20)
    screen = terminal("-p", "demo", **card)
    screen.see("Ask anything")
    screen.ask("hello")
    screen.see("word word")
    screen.press("f9")
    screen.see("Every figure explained")
    screen.read(1)
    assert sent(screen, 5) <= BUSY
    screen.press("u")
    screen.see("Usage: tokens, energy, money")
    screen.read(1)
    assert sent(screen, 3) <= IDLE
    screen.press("esc")
    screen.press("esc")
    screen.see("Ask anything")
    screen.press("f1")
    screen.see("Esc closes")
    screen.read(1)
    assert sent(screen, 3) <= IDLE


def test_views_that_nothing_happens_in_stand_still(terminal, echo, card) -> None:
    echo(text="word " * 30, tokens_per_second=200)
    screen = terminal("-p", "demo", **card)
    screen.see("Ask anything")
    screen.ask("hello")
    screen.see("saved")
    screen.press("f9")
    screen.see("Every figure explained")
    screen.read(4)
    assert sent(screen, 10) <= IDLE
    screen.press("\x1b[F")
    screen.see("The last minutes")
    screen.read(1)
    assert sent(screen, 10) <= IDLE
    screen.press("u")
    screen.see("Usage: tokens, energy, money")
    screen.read(1)
    assert sent(screen, 5) == 0


def test_what_came_under_a_view_is_there_when_it_closes(terminal, echo, card) -> None:
    echo(text=" ".join(f"word{number}" for number in range(60)), tokens_per_second=30)
    screen = terminal("-p", "demo", **card)
    screen.see("Ask anything")
    screen.ask("hello")
    screen.see("word5")
    screen.press("f9")
    screen.see("Every figure explained")
    screen.read(1)
    screen.press("esc")
    screen.see(r"word20", 1)
    screen.press("f9")
    screen.see("Every figure explained")
    screen.read(3)
    screen.press("esc")
    assert "word59" in screen.see(r"(?s)word59.*saved", 2)
    screen.see_gone("saving", 2)


def test_a_view_costs_itself_and_a_line_to_type_in_stands_still(terminal, echo) -> None:
    echo(text="short")
    screen = terminal("-p", "demo", "--profile", "ssh")
    screen.see("Ask anything")
    screen.read(1)
    for key, seen, most in (("f1", "Esc closes", 6_000), ("^f", "Find in all chats", 2_500), ("^p", "Search", 4_000)):
        before = len(screen.raw)
        screen.press(key)
        screen.see(seen)
        screen.read(0.7)
        assert len(screen.raw) - before <= most
        assert sent(screen, 1.5) == 0, "no cursor blinks"
        screen.press("esc")
        screen.see_gone(seen)
        screen.read(0.5)
