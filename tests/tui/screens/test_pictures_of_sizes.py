"""Pictures of the screen at its smallest and largest, in few colours, and of what a formula and a table look like."""

from __future__ import annotations

import pytest

from backends.events import Done, Text, Timings
from tests.tui.screens.conftest import BOTH, USAGE, WHOLE, picture, said

SOLVED = r"""Divide by $a$ and complete the square:

\[
x^2 + \frac{b}{a} x = -\frac{c}{a} \implies x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}
\]

For $a = 1$, \(b = -3\) and $c = 2$ that costs $0 and gives two roots:

$$
A = \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}, \quad
f(x) = \begin{cases} x & \text{if } x \geq 0 \\ -x & \text{otherwise} \end{cases}
$$

| sum | value |
|---|--:|
| $\sum_{n=1}^{\infty} \frac{1}{n^2}$ | $\frac{\pi^2}{6}$ |
| $\int_0^1 x^2\,dx$ | $\frac{1}{3}$ |

\[
\boxed{x \in \{1, 2\}}
\]
"""
ROOTS = [Text(SOLVED, 120), Done("stop", USAGE, Timings(0.5, 1.2, 50.0, 23.6))]


@BOTH
def test_formulas(snap_compare, size) -> None:
    said(("Where is $ax^2 + bx + c = 0$?", ROOTS))
    picture(snap_compare, size)


@pytest.mark.parametrize("size", [(40, 10), (60, 15), (300, 90)], ids=["40x10", "60x15", "300x90"])
def test_a_conversation_at_any_size(snap_compare, size) -> None:
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE), ("And $x$?", ROOTS))
    picture(snap_compare, size, *"And then")


def test_reading_back_on_the_smallest_terminal(snap_compare) -> None:
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    picture(snap_compare, (40, 10), "tab", "tab", "tab", "pageup")


@pytest.mark.parametrize("theme", ["ansi-light", "ansi-dark", "textual-light"])
def test_light_and_sixteen_colours(snap_compare, theme: str) -> None:
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    picture(snap_compare, (80, 24), "tab", "tab", "tab", theme=theme)


def test_without_colours(snap_compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    picture(snap_compare, (80, 24), "tab", "tab", "tab")
