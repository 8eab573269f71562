"""Over an SSH line an answer costs few bytes and little CPU time, nothing costs none, and what is seen is right."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import streaming
from tests.long_chats import long_chat
from tests.watched import Watched, watched

PROSE = "Every token reads **all the weights** once, so `decode` is bound by the bandwidth of the memory.\n\n"
CODE = "```python\nfor token in answer:\n    print(token)\n```\n\n- one\n- two\n\n"
PIECES = [text[at : at + 4] for text in [(PROSE * 3 + CODE) * 3] for at in range(0, len(text), 4)]
RATE = 150.0
FIRST, LAST = "§§§§", "¶¶¶¶"
"""Characters that nothing else has: none of them is on the terminal already, so that all of them are sent."""
SLACK = 3.0
"""How far above the goals of the benchmark a machine with other work may be."""
WAKES_A_S = 60
"""So often a second the threads together may be woken while nothing happens; a timer of 60 Hz alone would be that."""


@pytest.fixture
def screen(home: Path) -> Iterator[tuple[Watched, Path]]:
    """Open a chat that fills the view, with a model that streams."""
    with streaming.serving([f"{FIRST} ", *PIECES, f" {LAST}"], RATE) as (url, stamps):
        streaming.write_preset(url)
        with watched("-p", "stream", "-c", long_chat(40), width=160, height=45) as terminal:
            terminal.until("Stream · .*/1024k")
            yield terminal, stamps


def test_an_answer_and_a_key_are_cheap_and_nothing_costs_nothing(screen: tuple[Watched, Path]) -> None:
    terminal, stamps = screen
    terminal.type("go\r")
    began = terminal.see(FIRST)
    before = terminal.cpu_s()
    ended = terminal.see(LAST, began)
    count = len(PIECES)
    assert (terminal.cpu_s() - before) / count <= 0.001 * SLACK
    assert len(terminal.sent(began, ended)) / count <= 150
    terminal.until("saved")
    assert ended - float(stamps.read_text().split()[1]) <= 0.15 * SLACK
    time.sleep(2.5)  # The engine's last word, and what the others have written.
    assert len(terminal.sent(ended)) <= 8_000, "one second of a line of 64 kbit/s"
    rest, wakes = time.monotonic(), terminal.wakes()
    time.sleep(4)
    assert terminal.sent(rest) == b""
    assert (terminal.wakes() - wakes) / 4 <= WAKES_A_S
    at = terminal.type("h")
    terminal.see("h", at)
    time.sleep(0.5)
    assert len(terminal.sent(at)) <= 150


def test_what_is_seen_is_what_a_whole_repaint_draws(screen: tuple[Watched, Path]) -> None:
    terminal, _ = screen
    terminal.type("你好 go 👩\u200d👧\r")
    terminal.until("one")
    for key, shown in (("\x1b[20~", "Every figure explained"), ("\x1bOP", "Esc closes")):
        terminal.type(key)
        terminal.until(shown)
        terminal.type("\x1b")
        time.sleep(0.6)  # Only then it is no other key.
    terminal.until(LAST)
    for keys in ("\x1b[5~", "\x1b[5~", "你好 – typed", "\x1b[6~"):
        terminal.type(keys)
        time.sleep(0.3)
    time.sleep(2.5)
    changed = terminal.cells()
    terminal.resize(150, 40)
    terminal.resize(160, 45)
    time.sleep(1)
    whole = terminal.cells()
    assert [row for row, other in zip(changed, whole, strict=True) if row != other] == []
