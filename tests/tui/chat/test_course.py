"""The last minutes: one point a second, five minutes of them, and a gap stays a gap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui.chat.course import KEPT_S, Course, Point


def test_of_several_points_in_one_second_the_last_one_stays() -> None:
    course = Course()
    course.add(10.1, 1, 2.0, 3.0)
    course.add(10.6, 4, 5.0, 6.0)
    assert course.points(10.9) == [Point(10, 4, 5.0, 6.0)]


def test_seconds_without_a_point_are_gaps() -> None:
    course = Course()
    course.add(10.0, 1)
    course.add(13.0, 2)
    assert [point.vram_bytes for point in course.points(14.2)] == [1, None, None, 2, None]


def test_what_is_unknown_stays_unknown() -> None:
    course = Course()
    course.add(10.0, None, None, 40.0)
    assert course.points(10.0) == [Point(10, None, None, 40.0)]


def test_what_is_older_than_five_minutes_is_gone() -> None:
    course = Course()
    course.add(0.0, 1)
    assert course.points(KEPT_S + 1.0) == []


def test_nothing_was_ever_measured() -> None:
    assert Course().points(5.0) == []


@given(st.lists(st.floats(0, 5000, allow_nan=False), max_size=700), st.floats(0, 10_000))
def test_there_is_one_point_a_second_and_never_more_than_five_minutes(times: list[float], now: float) -> None:
    course = Course()
    for at in sorted(times):
        course.add(at, 1)
    seconds = [point.second for point in course.points(now)]
    assert len(seconds) <= KEPT_S
    assert seconds == list(range(seconds[0], seconds[-1] + 1)) if seconds else True
