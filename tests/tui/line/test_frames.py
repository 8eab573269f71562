"""Frames on their way to a terminal far away: a key held down fills no line, what is seen last is right."""

from __future__ import annotations

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.tui.line.test_thinning import HEIGHT, WIDTH, at, bare, cut, frame, frames, piece, shown
from tui.line.frames import HELD_CHARACTERS, SMALL_BYTES, Frames
from tui.line.pacing import PATIENCE_S, QUESTION, UNSEEN_BYTES, Pacing


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Far:
    """A terminal at the end of a line, and one that is near; `answers` lets the far one answer what it was asked."""

    def __init__(self, *, mute: bool = False) -> None:
        self.clock = Clock()
        self.pacing = Pacing(self.clock)
        self.pacing.begin()
        if not mute:
            self.pacing.answered()
        self.frames = Frames(self.pacing, erases=True)
        self.near, self.far = pyte.Screen(WIDTH, HEIGHT), pyte.Screen(WIDTH, HEIGHT)
        self.asked = False
        for screen in (self.near, self.far):
            screen.reset_mode(pyte.modes.DECAWM)

    def draw(self, drawn: str) -> str:
        pyte.Stream(self.near).feed(bare(drawn).replace("\n", "\r\n"))
        return self._sent(self.frames.put(drawn))

    def answers(self) -> str:
        self.asked = False
        self.pacing.answered()
        return self._sent(self.frames.released() if self.frames.held else "")

    def _sent(self, written: str) -> str:
        self.asked = self.asked or QUESTION in written
        pyte.Stream(self.far).feed(bare(written).replace(QUESTION, "").replace("\n", "\r\n"))
        return written

    def is_right(self) -> bool:
        for y, x in cut(self.near):  # Half a character: each terminal shows something else there.
            self.far.buffer[y][x] = self.near.buffer[y][x]
        return shown(self.far) == shown(self.near)


def page(number: int) -> str:
    """Return a frame that changes every cell, and has no two cells of one colour."""

    def row(y: int) -> str:
        letters = (chr(ord("a") + (number + x) % 26) for x in range(WIDTH))
        return "".join(piece(letter, f"38;2;{number};{100 + x};{y}") for x, letter in enumerate(letters))

    return frame(*(at(y, 0, row(y)) for y in range(HEIGHT)))


@pytest.fixture
def busy() -> Far:
    """A terminal to which as much is on its way as may be."""
    far = Far()
    assert len(far.draw(page(10))) > UNSEEN_BYTES
    assert far.asked
    return far


def test_of_a_key_held_down_what_the_line_cannot_carry_becomes_one_picture(busy: Far) -> None:
    assert [busy.draw(page(number)) for number in range(2, 20)] == [""] * 18
    assert busy.frames.held
    assert len(busy.answers()) < 1.1 * len(page(19))
    assert not busy.frames.held
    assert busy.is_right()


def test_what_is_typed_goes_at_once_while_the_line_is_busy(busy: Far) -> None:
    typed = busy.draw(frame(at(2, 3, piece("#"))))
    assert 0 < len(typed) <= SMALL_BYTES
    assert busy.is_right()


def test_what_is_typed_behind_something_held_comes_with_it(busy: Far) -> None:
    busy.draw(page(2))
    assert busy.draw(frame(at(2, 3, piece("#")))) == ""
    busy.answers()
    assert busy.is_right()


def test_a_terminal_that_never_answers_gets_everything_at_once() -> None:
    mute = Far(mute=True)
    assert all(mute.draw(page(number)) for number in range(1, 20))
    assert mute.is_right()


def test_a_terminal_that_answers_no_more_is_waited_for_a_while(busy: Far) -> None:
    assert busy.draw(page(2)) == ""
    busy.clock.now += PATIENCE_S
    assert busy.draw(page(3))
    assert busy.is_right()


def test_what_is_held_is_bounded(busy: Far) -> None:
    sizes = [len(busy.draw(page(number % 250))) for number in range(2, 2 + HELD_CHARACTERS // len(page(2)) + 2)]
    assert max(sizes) < 2 * len(page(2))
    assert any(sizes)


def test_for_another_size_what_was_held_is_not_written(busy: Far) -> None:
    busy.draw(page(2))
    busy.frames.drop()
    assert not busy.frames.held
    assert busy.frames.released() == ""


def test_of_what_anything_may_be_on_all_that_is_drawn_is_sent(busy: Far) -> None:
    busy.draw(page(1))
    busy.far.reset()
    busy.frames.forget()
    busy.draw(page(1))
    busy.answers()
    assert busy.is_right()


@given(some.lists(frames() | some.just("answer") | some.integers(0, 9).map(page), max_size=12))
def test_whatever_is_drawn_and_whenever_it_is_answered_the_terminal_shows_the_last(deeds: list[str]) -> None:
    far = Far()
    for deed in deeds:
        if deed != "answer":
            far.draw(deed)
        elif far.asked:
            far.answers()
        assert far.frames.held or far.is_right()
    far.answers()
    assert far.is_right()
