"""Figures as people read them: what rounds to nothing is not shown as 0, and unknown is a dash."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui import plot
from tui.chat import amounts
from tui.units import energy, gigabytes, memory, money, roughly, speed


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.01, "1 s"), (29, "29 s"), (45, "1 min"), (362, "6 min"), (3599, "1 h 00 min"), (7800, "2 h 10 min")],
)
def test_what_is_estimated_has_no_seconds_beside_minutes(seconds: float, shown: str) -> None:
    assert roughly(seconds) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0.0, "$0"), (1e-9, "<$0.0001"), (0.0004, "$0.0004"), (0.0123, "$0.012"), (0.5, "$0.50"), (1234.5, "$1,234.50")],
)
def test_money_has_the_digits_that_count(amount: float, shown: str) -> None:
    assert money(amount, "USD") == shown


@given(st.floats(1e-12, 1e6))
def test_money_that_was_spent_is_never_shown_as_0(amount: float) -> None:
    assert re.search(r"[1-9]", money(amount, "EUR"))


@given(st.floats(1e-9, 1e12))
def test_energy_that_was_drawn_is_never_shown_as_0(joules: float) -> None:
    assert re.search(r"[1-9]", energy(joules))


@pytest.mark.parametrize(
    ("joules", "shown"), [(0.0, "0.00 Wh"), (0.001, "<0.01 mWh"), (3244.5, "0.90 Wh"), (None, "–")]
)
def test_energy_has_the_unit_that_suits_it(joules: float | None, shown: str) -> None:
    assert energy(joules) == shown


@given(st.integers(0, 10**12))
def test_the_command_and_the_screen_say_the_same_of_an_energy(microjoules: int) -> None:
    assert amounts.energy(microjoules) == energy(microjoules / 1e6)


def test_an_estimate_that_rounds_to_nothing_stays_an_estimate() -> None:
    assert amounts.energy(1000, estimated=True) == "~<0.01 mWh"


def test_memory_below_a_gigabyte_is_told_in_megabytes() -> None:
    assert (memory(45_000_000), memory(2_900_000_000), gigabytes(None)) == ("45 MB", "2.9 GB", "–")


@pytest.mark.parametrize(
    ("rate", "shown"),
    [(63501.1, "63,501"), (999.96, "1,000"), (999.94, "999.9"), (36.24, "36.2"), (0.44, "0.4"), (0.037, "0.037")],
)
def test_a_speed_has_the_digits_that_say_something_and_is_never_0(rate: float, shown: str) -> None:
    assert speed(rate) == shown


def test_a_plot_shows_what_is_unknown_as_a_gap() -> None:
    assert plot.course([1.0, None, 2.0], 3) == "▅·█"
    assert plot.course([None, None], 2) == "··"


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=400), st.integers(1, 120))
def test_a_plot_is_as_wide_as_it_may_be_and_no_wider(values: list[float | None], columns: int) -> None:
    assert len(plot.course(values, columns)) == min(columns, len(values))
