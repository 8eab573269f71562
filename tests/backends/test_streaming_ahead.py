"""Reading ahead: everything before its turn, in the order of use, and never more at once than there is room for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backends.llama_cpp.streaming.ahead import Ahead, reach
from backends.llama_cpp.streaming.ranges import Span, Unit, total
from backends.planning.streaming import WINDOW_BYTES

MIB = 1024**2


def model(sizes: list[int]) -> list[Unit]:
    units, place = [], 4096
    for number, size in enumerate(sizes):
        held, streamed = Span(0, place, place + 4096), Span(0, place + 4096, place + 4096 + size)
        units.append(Unit(f"unit-{number}", (held,), (streamed,) if size else ()))
        place += 4096 + size
    return units


def never() -> bool:
    return False


@given(
    st.lists(st.integers(0, 300 * MIB), min_size=1, max_size=40), st.integers(1, 3), st.integers(128 * 1024, 2 * MIB)
)
def test_each_streamed_byte_is_fetched_once_a_pass_before_its_turn_ends(
    sizes: list[int], passes: int, piece: int
) -> None:
    units, fetched = model(sizes), list[Span]()
    ahead = Ahead(fetched.append, piece, WINDOW_BYTES)
    whole = sum(sizes)
    passed = 0
    for at in range(passes * len(units)):
        ahead.follow(units, at, never)
        size = total(units[at % len(units)].streamed)
        known = total(fetched)
        assert known >= passed + size
        assert known - passed <= max(WINDOW_BYTES * 7 // 8, reach(size, WINDOW_BYTES)) + 4 * MIB
        assert known <= passed + whole
        passed += size
    assert all(span.size <= piece for span in fetched)
    # In the order of use, round and round.
    position = 0
    order = [span for unit in units for span in unit.streamed]
    for span in fetched:
        offset = position % whole
        for one in order:
            if offset < one.size:
                assert span.start == one.start + offset
                break
            offset -= one.size
        position += span.size


def test_what_is_in_use_and_what_comes_fit_into_the_window_of_the_plan() -> None:
    half_of_a_32b = 131 * MIB
    assert half_of_a_32b + reach(half_of_a_32b, WINDOW_BYTES) <= WINDOW_BYTES


def test_after_a_jump_nothing_that_is_over_is_fetched() -> None:
    units, fetched = model([MIB] * 10), list[Span]()
    ahead = Ahead(fetched.append, MIB, WINDOW_BYTES)
    ahead.follow(units, 0, never)
    del fetched[:]
    ahead.follow(units, 1007, never)
    assert fetched[0] == units[7].streamed[0]


def test_the_engine_going_on_interrupts_it() -> None:
    units, fetched = model([64 * MIB] * 4), list[Span]()
    Ahead(fetched.append, MIB, WINDOW_BYTES).follow(units, 0, lambda: bool(fetched))
    assert total(fetched) == 4 * MIB


def test_what_should_be_held_is_fetched_where_it_may_be_missing() -> None:
    units, fetched = model([MIB] * 3), list[Span]()
    Ahead(fetched.append, 2 * MIB, WINDOW_BYTES).follow(units, 0, never, held_too=True)
    assert total(fetched) == sum(unit.size for unit in units)
