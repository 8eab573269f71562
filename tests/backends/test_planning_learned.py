"""What loading teaches about a card: how much to leave free, and what the engine's context takes there."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends import remembered
from backends.planning import learned
from backends.planning.result import MARGIN_BYTES

MIB = 1024**2
CARD = "NVIDIA GeForce RTX 4060"
ENGINE = "0.3.36"


def clean_loads(count: int, card: str = CARD) -> None:
    for _ in range(count):
        learned.loaded_without_fault(card)


def test_of_a_new_card_nothing_is_known() -> None:
    assert learned.margin_bytes(CARD) == MARGIN_BYTES == 256 * MIB
    assert learned.overhead_bytes(CARD) is None
    assert learned.overhead_wanted(CARD, ENGINE)


@pytest.mark.parametrize(("missing", "margin"), [(1, 384), (128, 384), (129, 512), (300, 640), (10_000, 1024)])
def test_after_an_out_of_memory_more_stays_free_by_what_was_missing(missing: int, margin: int) -> None:
    size = missing * MIB if missing > 1 else 1
    assert learned.raise_margin(CARD, size) == margin * MIB
    assert learned.margin_bytes(CARD) == margin * MIB


def test_one_that_does_not_say_what_was_missing_still_counts() -> None:
    learned.raise_margin(CARD, 0)
    assert learned.margin_bytes(CARD) == 384 * MIB


def test_after_five_tight_loads_a_smaller_margin_is_tried_again() -> None:
    learned.raise_margin(CARD, 200 * MIB)
    clean_loads(4)
    assert learned.margin_bytes(CARD) == 512 * MIB
    clean_loads(1)
    assert learned.margin_bytes(CARD) == 384 * MIB
    clean_loads(5)
    assert learned.margin_bytes(CARD) == 256 * MIB
    clean_loads(50)
    assert learned.margin_bytes(CARD) == 256 * MIB


def test_a_fault_between_clean_loads_makes_them_count_anew() -> None:
    learned.raise_margin(CARD, MIB)
    clean_loads(4)
    learned.raise_margin(CARD, MIB)
    clean_loads(4)
    assert learned.margin_bytes(CARD) == 512 * MIB


def test_who_was_lowered_too_early_waits_twice_as_long() -> None:
    learned.raise_margin(CARD, MIB)
    for patience in (5, 10, 20, 40, 80, 80):
        clean_loads(patience - 1)
        assert learned.margin_bytes(CARD) == 384 * MIB
        clean_loads(1)
        assert learned.margin_bytes(CARD) == 256 * MIB
        learned.raise_margin(CARD, MIB)


def test_cards_are_known_by_their_names_however_these_are_written() -> None:
    learned.raise_margin(CARD, MIB)
    learned.note_overhead(CARD, 150 * MIB, ENGINE)
    assert learned.margin_bytes("nvidia  geforce RTX 4060 ") == 384 * MIB
    assert learned.overhead_bytes("nvidia geforce rtx 4060") == 150 * MIB
    assert learned.margin_bytes("NVIDIA GeForce RTX 4060 Ti") == 256 * MIB
    assert learned.overhead_bytes("NVIDIA GeForce RTX 4060 Ti") is None


def test_the_context_of_the_engine_is_the_middle_of_three_measurements() -> None:
    learned.note_overhead(CARD, 150 * MIB, ENGINE)
    assert learned.overhead_bytes(CARD) == 150 * MIB
    learned.note_overhead(CARD, 900 * MIB, ENGINE)
    assert learned.overhead_wanted(CARD, ENGINE)
    learned.note_overhead(CARD, 155 * MIB, ENGINE)
    assert learned.overhead_bytes(CARD) == 155 * MIB
    assert not learned.overhead_wanted(CARD, ENGINE)


@pytest.mark.parametrize("taken", [-300 * MIB, 0, 49 * MIB, 1537 * MIB, 7 * 1024 * MIB])
def test_what_somebody_else_took_or_gave_meanwhile_is_no_measurement(taken: int) -> None:
    learned.note_overhead(CARD, taken, ENGINE)
    assert learned.overhead_bytes(CARD) is None


def test_another_version_of_the_engine_is_measured_anew_and_the_margin_stays() -> None:
    learned.raise_margin(CARD, MIB)
    for _ in range(3):
        learned.note_overhead(CARD, 150 * MIB, ENGINE)
    assert learned.overhead_wanted(CARD, "0.4.0")
    learned.note_overhead(CARD, 200 * MIB, "0.4.0")
    assert learned.overhead_bytes(CARD) == 200 * MIB
    assert learned.margin_bytes(CARD) == 384 * MIB


@pytest.mark.parametrize(
    "value", [3, "begun", {"steps": 7}, {"steps": -1}, {"steps": True}, {"overheads": ["1"]}, {"patience": 0}, [1]]
)
def test_strange_remembered_facts_are_ignored(value: object) -> None:
    remembered.write("cards", CARD.casefold(), value)
    assert learned.margin_bytes(CARD) == MARGIN_BYTES
    assert learned.overhead_bytes(CARD) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-(2**33), 2**33)), max_size=25), st.uuids())
def test_whatever_happens_the_margin_stays_within_its_bounds(events: list[tuple[bool, int]], card: object) -> None:
    for fault, size in events:
        before = learned.margin_bytes(str(card))
        if fault:
            learned.raise_margin(str(card), size)
        else:
            learned.loaded_without_fault(str(card))
        after = learned.margin_bytes(str(card))
        assert MARGIN_BYTES <= after <= learned.MOST_BYTES
        assert after % learned.STEP_BYTES == 0
        assert (after >= before) if fault else (after in (before, before - learned.STEP_BYTES))


def test_the_margin_shrinks_by_a_context_that_is_counted_apart_and_never_below_what_kernels_take() -> None:
    assert learned.margin_bytes(CARD, 0) == 256 * MIB
    assert learned.margin_bytes(CARD, 50 * MIB) == 206 * MIB
    assert learned.margin_bytes(CARD, 107 * MIB) == learned.margin_bytes(CARD, 555 * MIB) == 192 * MIB
    learned.raise_margin(CARD, 100 * MIB)
    assert learned.margin_bytes(CARD, 107 * MIB) == 320 * MIB
