"""What a terminal of any size shows after an answer has streamed is what a full repaint draws."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import Terminal
from tests.tui.screens.test_pictures_of_sizes import SOLVED

CODE = (
    "\n```python\ndef f(x):\n    return x ** 2  # 平方\n```\n\n1. one\n"
    "2. two 中文字符 and so on and on, further than a narrow line is wide\n"
)


@pytest.mark.parametrize(("width", "height"), [(40, 10), (300, 90)])
def test_what_has_streamed_is_what_a_repaint_draws(
    terminal: Callable[..., Terminal], echo: Callable[..., None], width: int, height: int
) -> None:
    echo(text=SOLVED + CODE + "The end.", tokens_per_second=200, reasoning="First I think. " * 30)
    screen = terminal("-p", "demo", width=width, height=height, SSH_CONNECTION="10.0.0.1 2 10.0.0.2 22")
    screen.ask("solve")
    screen.see("The end", 30)
    screen.read(2.5)  # The plan at the side takes in the measured speed.
    streamed = screen.text
    screen.resize(width, height - 1)
    screen.resize(width, height)
    screen.read(0.7)
    assert screen.text == streamed
    assert "> Ask" in streamed
    assert "F1" in streamed
    conversation = streamed.split("─────")[0] if height == 10 else streamed
    assert len([row for row in conversation.split("\n")[:6] if row.strip()]) >= 3
    screen.leave()
