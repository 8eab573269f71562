"""Findings come in the order of the harm that they do."""

from __future__ import annotations

from typing import Any

from tui.checks.check import MEANS, Check, guarded, in_order


def test_what_fails_comes_before_warnings_and_what_is_in_order_last() -> None:
    given = [
        Check("fine", "ok", ""),
        Check("swap", "warn", "", harm="memory-short"),
        Check("card", "warn", "", harm="card-idle"),
        Check("preset", "fail", "", harm="no-preset"),
        Check("also fine", "ok", ""),
        Check("store", "fail", "", harm="lost"),
    ]
    assert [check.name for check in in_order(given)] == ["store", "preset", "card", "swap", "fine", "also fine"]


def test_every_harm_but_none_is_said_in_words() -> None:
    assert [harm for harm, words in MEANS.items() if not words] == ["none"]
    assert list(MEANS)[-1] == "none"


def test_a_check_that_breaks_is_itself_a_finding_and_strangers_learn_only_its_kind() -> None:
    def broken() -> Any:
        raise ZeroDivisionError("ann's figure")
        yield

    (check,) = guarded("thing", broken)
    assert (check.state, check.found) == ("fail", "cannot be checked: ZeroDivisionError: ann's figure")
    assert check.public == "cannot be checked: ZeroDivisionError"
