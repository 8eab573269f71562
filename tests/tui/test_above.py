"""What is said above the composer fits, however wide its letters are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.screens.chat.above import told_next


@given(st.text(min_size=1), st.integers(1, 4), st.integers(74, 200))
def test_the_next_question_is_cut_for_the_key_that_takes_it_back(text: str, many: int, width: int) -> None:
    told = told_next([text] * many, width)
    assert cell_len(told) <= width
    assert "\n" not in told
    assert "takes" in told


def test_wide_letters_are_cut_by_their_width() -> None:
    assert told_next(["为什么天空是蓝色的" * 9], 60) == "Next: 为什么天空是蓝色的为什么天空是…  Esc takes it back"
