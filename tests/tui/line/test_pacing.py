"""What grows waits for the terminal's answer; one that does not answer is not asked again, and holds nothing up."""

from __future__ import annotations

import pytest

from tui.line.pacing import ASKED_BYTES, FLOWING_BYTES, PATIENCE_S, Pacing

LARGE = 2 * ASKED_BYTES


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pacing(clock: Clock) -> Pacing:
    """The pacing of a terminal that has answered once."""
    pacing = Pacing(clock)
    pacing.begin()
    pacing.answered()
    return pacing


def test_a_frame_is_asked_behind_and_the_next_one_waits_for_the_answer(pacing: Pacing) -> None:
    assert pacing.ready()
    assert pacing.ask(LARGE)
    assert not pacing.ready()
    pacing.answered()
    assert pacing.ready()
    assert pacing.ask(LARGE)


def test_text_that_comes_slowly_flows_on_while_the_answer_is_on_its_way(pacing: Pacing) -> None:
    sizes = [90] * 40
    asked = 0
    for number, size in enumerate(sizes):
        assert pacing.ready()
        asked += pacing.ask(size)
        if number % 4 == 3:  # Some frames later, it answers.
            pacing.answered()
    assert asked > 2
    assert pacing.ask(FLOWING_BYTES)
    assert not pacing.ready()


def test_one_question_is_under_way_at_a_time(pacing: Pacing) -> None:
    assert pacing.ask(LARGE)
    assert not pacing.ask(LARGE)


def test_small_frames_are_asked_behind_only_when_they_add_up(pacing: Pacing) -> None:
    asked = [pacing.ask(ASKED_BYTES // 4) for _ in range(5)]
    assert asked == [False, False, False, False, True]


def test_a_terminal_that_does_not_answer_is_asked_once_and_holds_nothing_up(clock: Clock) -> None:
    mute = Pacing(clock)
    mute.begin()
    for _ in range(10):
        assert mute.ready()
        assert not mute.ask(LARGE)
        clock.now += PATIENCE_S
    mute.forget()
    assert not mute.ask(LARGE)
    mute.answered()  # Late, but it does.
    assert mute.ask(LARGE)
    assert not mute.ready()


def test_a_terminal_that_has_answered_before_is_asked_again_after_a_stall(pacing: Pacing, clock: Clock) -> None:
    assert pacing.ask(LARGE)
    pacing.answered()
    assert pacing.ask(LARGE)
    clock.now += PATIENCE_S / 2
    assert not pacing.ready()
    clock.now += PATIENCE_S
    assert pacing.ready()
    assert pacing.ask(LARGE)
    assert not pacing.ready()


def test_a_question_that_was_dropped_with_its_frame_is_not_waited_for(pacing: Pacing) -> None:
    assert pacing.ask(LARGE)
    pacing.answered()
    assert pacing.ask(LARGE)
    pacing.forget()
    assert pacing.ready()
    assert pacing.ask(LARGE)


def test_an_answer_that_comes_late_is_an_answer(pacing: Pacing, clock: Clock) -> None:
    assert pacing.ask(LARGE)
    clock.now += 10 * PATIENCE_S
    pacing.answered()
    assert pacing.ask(LARGE)
    assert not pacing.ready()
