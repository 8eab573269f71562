"""A terminal whose locale names another encoding than UTF-8: what is drawn is in it, and what is typed is read so."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.e2e.conftest import Terminal


def test_nothing_is_written_that_a_latin_terminal_would_garble(
    terminal: Callable[..., Terminal], echo: Callable[..., None]
) -> None:
    echo(text="It is → 42 ✓")
    screen = terminal("-p", "demo", LC_ALL="de_DE.ISO-8859-1")
    screen.see("Demo")
    screen.type("gr")
    os.write(screen.child.child_fd, b"\xfc\xdf")
    screen.read(0.5)
    screen.press("enter")
    screen.see("It is > 42 v")
    assert "+-" in screen.text
    assert "─" not in screen.raw
    # In this encoding ü and ß are single bytes, which are no UTF-8.
    assert "gr\ufffd\ufffd" in screen.text
    screen.leave()
