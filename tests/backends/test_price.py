"""What an answer costs: the tokens that a server counted, at the price that its owner publishes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.events import Cost, Usage
from backends.price import Price, cost

FULL = Price(0.5, 2.0, 0.1)
TOKENS = st.integers(0, 10**9)
MAYBE = st.none() | TOKENS
AMOUNTS = st.floats(0, 1e9)


def paid(usage: Usage, price: Price = FULL) -> float:
    found = cost(usage, price)
    assert found is not None
    return found.amount


def test_input_that_was_cached_is_cheaper() -> None:
    assert paid(Usage(1_000_000, 0, 0, 0)) == 0.5
    assert paid(Usage(1_000_000, 1_000_000, 0, 0)) == 0.1
    assert paid(Usage(1_000_000, 500_000, 0, 0)) == pytest.approx(0.3)


def test_without_a_price_for_it_cached_input_costs_as_any_other() -> None:
    assert paid(Usage(1_000_000, 700_000, 0, 0), Price(0.5, 2.0)) == 0.5


def test_input_costs_its_full_price_where_nobody_said_what_was_cached() -> None:
    assert paid(Usage(1_000_000, None, None, 0)) == 0.5


def test_cached_input_that_is_free_costs_nothing() -> None:
    assert paid(Usage(1_000_000, 1_000_000, 0, 0), Price(0.5, 2.0, 0.0)) == 0


def test_more_cached_than_there_is_counts_as_all_of_it() -> None:
    assert paid(Usage(100, 900, 0, 0), Price(0.5, 2.0, 0.1)) == paid(Usage(100, 100, 0, 0))


def test_output_costs_its_own_price_and_thoughts_cost_once() -> None:
    assert paid(Usage(0, 0, 0, 1_000_000)) == 2.0
    assert paid(Usage(0, 0, 900_000, 1_000_000)) == 2.0
    assert paid(Usage(2_000_000, 0, 0, 1_000_000)) == 3.0


def test_a_single_token_is_not_rounded_away() -> None:
    assert paid(Usage(1, 0, 0, 0)) == 0.5e-6
    assert paid(Usage(0, 0, 0, 1)) == 2e-6
    assert paid(Usage(1, 0, 0, 1)) == 2.5e-6


@pytest.mark.parametrize("usage", [Usage(), Usage(5, 1, 1, None), Usage(None, 1, 1, 5), Usage(None, 7, 7, None)])
def test_what_was_not_counted_has_no_cost(usage: Usage) -> None:
    assert cost(usage, FULL) is None


def test_a_server_that_costs_nothing_costs_zero_and_not_nothing() -> None:
    assert cost(Usage(10**6, 0, 0, 10**6), Price(0, 0)) == Cost(0.0, "USD", "preset")


def test_a_cost_names_its_currency_and_where_its_price_is_from() -> None:
    found = cost(Usage(1, 0, 0, 1), Price(1, 1, currency="EUR"))
    assert found is not None
    assert (found.currency, found.source) == ("EUR", "preset")
    assert Price(1, 1).currency == "USD"


@pytest.mark.parametrize(
    "wrong",
    [{"currency": "usd"}, {"currency": "US"}, {"currency": "USDT"}, {"currency": "€"}, {"currency": "USD\n"},
     {"currency": "ＵＳＤ"}, {"currency": 840}, {"input_per_million": -0.01}, {"output_per_million": 2e9},
     {"cached_input_per_million": -1}, {"output_per_million": float("nan")}, {"output_per_million": float("inf")},
     {"output_per_million": "2"}, {"output_per_token": 1}],
)  # fmt: skip
def test_a_wrong_price_is_refused(wrong: dict[str, object]) -> None:
    right = {"input_per_million": 1, "output_per_million": 2.5, "cached_input_per_million": 0.5, "currency": "CNY"}
    assert msgspec.convert(right, Price) == Price(1, 2.5, 0.5, "CNY")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**right, **wrong}, Price)


@pytest.mark.parametrize("lacking", ["input_per_million", "output_per_million"])
def test_a_price_for_one_direction_alone_is_refused(lacking: str) -> None:
    table = {"input_per_million": 1, "output_per_million": 2}
    del table[lacking]
    with pytest.raises(msgspec.ValidationError, match=lacking):
        msgspec.convert(table, Price)


@given(TOKENS, MAYBE, MAYBE, TOKENS, AMOUNTS, AMOUNTS, st.none() | AMOUNTS)
def test_a_cost_is_between_the_cheapest_and_the_dearest_price_of_all_tokens(
    prompt: int, cached: int | None, thought: int | None, output: int, dear: float, out: float, cheap: float | None
) -> None:
    price = Price(dear, out, cheap)
    amount = paid(Usage(prompt, cached, thought, output), price)
    prices = [dear, out, *([] if cheap is None else [cheap])]
    most = (prompt + output) * max(prices) / 1_000_000
    assert 0 <= (prompt + output) * min(prices) / 1_000_000 <= amount * (1 + 1e-9)
    assert amount <= most * (1 + 1e-9)


@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=20))
def test_many_answers_cost_what_their_tokens_cost_together(answers: list[tuple[int, int]]) -> None:
    apart = sum(paid(Usage(prompt, 0, 0, output)) for prompt, output in answers)
    together = paid(Usage(sum(prompt for prompt, _ in answers), 0, 0, sum(output for _, output in answers)))
    assert apart == pytest.approx(together, rel=1e-9)
