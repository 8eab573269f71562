"""What DeepSeek's API would have cost: dated prices, peak hours, and a file of the user's own."""

from __future__ import annotations

import datetime
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.events import Cost, Usage
from presets.api_prices import (
    BUILTIN,
    ApiPrice,
    ApiPrices,
    ApiPricesError,
    compare,
    load_api_prices,
    price_at,
    user_file,
)

ONE = """\
[prices.mine]
title = "Mine"
from = 2026-01-01
input_per_million = 1.0
output_per_million = 2.0
"""


@pytest.fixture
def built_in() -> ApiPrices:
    return load_api_prices()


def at(moment: str) -> float:
    return datetime.datetime.fromisoformat(moment).replace(tzinfo=datetime.UTC).timestamp()


def figures(prices: ApiPrices, moment: str) -> tuple[float | None, float, float]:
    price = price_at(prices, at(moment))
    assert price is not None
    return price.cached_input_per_million, price.input_per_million, price.output_per_million


def own(text: str) -> Path:
    path = user_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2025-01-20T00:00", (0.14, 0.55, 2.19)),
        ("2025-09-04T23:59:59", (0.14, 0.55, 2.19)),
        ("2025-09-05T00:00", (0.07, 0.56, 1.68)),
        ("2025-09-29T00:00", (0.028, 0.28, 0.42)),
        ("2026-04-24T00:00", (0.028, 0.14, 0.28)),
        ("2026-04-26T00:00", (0.0028, 0.14, 0.28)),
        ("2026-08-14T02:00", (0.0028, 0.14, 0.28)),  # a peak hour before there were any
        ("2026-08-16T15:59", (0.0028, 0.14, 0.28)),
        ("2026-08-16T16:00", (0.007, 0.22, 0.66)),
        ("2026-09-10T03:59", (0.014, 0.44, 1.32)),
        ("2026-09-10T04:00", (0.003, 0.15, 0.60)),
        ("2026-11-25T12:00", (0.003, 0.15, 0.60)),
        ("2031-01-04T12:00", (0.003, 0.15, 0.60)),
    ],
)
def test_the_price_is_that_of_the_day(built_in: ApiPrices, moment: str, expected: tuple[float, float, float]) -> None:
    assert figures(built_in, moment) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("moment", "peak"),
    [
        ("2026-11-23T00:59:59", False),  # a Monday
        ("2026-11-23T01:00:00", True),
        ("2026-11-23T03:59:59", True),
        ("2026-11-23T04:00:00", False),
        ("2026-11-23T05:59:59", False),
        ("2026-11-23T06:00:00", True),
        ("2026-11-23T09:59:59", True),
        ("2026-11-23T10:00:00", False),
        ("2026-11-27T09:00:00", True),  # the Friday
        ("2026-11-28T09:00:00", False),  # the weekend
        ("2026-11-29T02:00:00", False),
    ],
)
def test_peak_hours_cost_twice_as_much_from_monday_to_friday(built_in: ApiPrices, moment: str, peak: bool) -> None:
    price = price_at(built_in, at(moment))
    assert price is not None
    assert price.at_peak is peak
    assert price.output_per_million == pytest.approx(1.2 if peak else 0.6)
    assert price.cached_input_per_million == pytest.approx(0.006 if peak else 0.003)


@given(st.floats(at("2020-01-01"), at("2040-01-01")))
def test_days_of_the_week_are_those_of_the_calendar(moment: float) -> None:
    peak = load_api_prices(BUILTIN).entries[-1].peak
    assert peak is not None
    there = datetime.datetime.fromtimestamp(math.floor(moment), datetime.UTC)
    assert peak.holds_at(math.floor(moment)) == (there.weekday() < 5 and there.hour in {1, 2, 3, 6, 7, 8, 9})


@pytest.mark.parametrize("moment", [at("2025-01-19T23:59"), 0.0, -1e18, math.nan, math.inf, -math.inf])
def test_before_the_first_price_and_at_no_time_at_all_there_is_none(built_in: ApiPrices, moment: float) -> None:
    assert price_at(built_in, moment) is None


def test_the_built_in_prices_follow_each_other_without_a_gap(built_in: ApiPrices) -> None:
    assert built_in.builtin
    assert built_in.checked == "2026-11-25"
    ends = [entry.until_s for entry in built_in.entries]
    assert ends == [*(entry.from_s for entry in built_in.entries[1:]), None]


def test_tokens_cost_what_the_price_says_and_uncounted_ones_are_not_compared(built_in: ApiPrices) -> None:
    price = price_at(built_in, at("2025-02-01"))
    assert price is not None
    assert compare(Usage(2_000_000, 1_000_000, 0, 1_000_000), price) == Cost(pytest.approx(2.88), "USD", "api")
    assert compare(Usage(1_000_000, None, None, 0), price) == Cost(pytest.approx(0.55), "USD", "api")
    assert compare(Usage(None, None, None, 5), price) is None


def test_the_users_file_replaces_all_of_it() -> None:
    path = own('\ufeffchecked = "2026-02-03"\r\n' + ONE + 'currency = "EUR"\n')
    prices = load_api_prices()
    assert (prices.file, prices.builtin, prices.checked) == (path, False, "2026-02-03")
    expected = ApiPrice("mine", "Mine", at("2026-01-01"), None, 1.0, None, 2.0, "EUR")
    assert prices.entries == (expected,)
    assert price_at(prices, at("2025-12-31")) is None


def test_the_last_price_goes_on_after_its_end_and_a_gap_has_none() -> None:
    later = ONE.replace("prices.mine", "prices.later").replace("2026-01-01", "2026-03-01\nuntil = 2026-04-01")
    own(ONE.replace("2026-01-01", "2026-01-01\nuntil = 2026-02-01") + later)
    prices = load_api_prices()
    names = {
        day: getattr(price_at(prices, at(day)), "name", None) for day in ("2026-01-31", "2026-02-01", "2027-01-01")
    }
    assert names == {"2026-01-31": "mine", "2026-02-01": None, "2027-01-01": "later"}


def test_a_moment_may_be_written_as_text_and_with_a_time_zone() -> None:
    own(ONE.replace("2026-01-01", '"2026-01-01T08:00+08:00"'))
    assert load_api_prices().entries[0].from_s == at("2026-01-01")


@pytest.mark.parametrize(
    ("old", "new", "key", "line", "hint"),
    [
        ("title", "titel", "prices.mine.titel", 2, "Did you mean prices.mine.title?"),
        ("from = 2026-01-01\n", "", "prices.mine.from", 1, ""),
        ("from", "form", "prices.mine.form", 3, "Did you mean prices.mine.from?"),
        ("2026-01-01", '"soon"', "prices.mine.from", 3, "2026-09-10"),
        ("2026-01-01", "3", "prices.mine.from", 3, "2026-09-10"),
        ("2026-01-01", "2026-01-01\nuntil = 2025-01-01", "prices.mine.until", 4, ""),
        ("1.0", '"1.0"', "prices.mine.input_per_million", 4, ""),
        ("1.0", "-1", "prices.mine.input_per_million", 4, ""),
        ("1.0", "nan", "prices.mine.input_per_million", 4, ""),
        ("2.0", "inf", "prices.mine.output_per_million", 5, ""),
        ("2.0", '2.0\ncurrency = "dollars"', "prices.mine.currency", 6, ""),
        ("2.0", "2.0\npeak = { hours_utc = [[22, 2]] }", "prices.mine.peak.hours_utc", 6, "[[22, 24], [0, 2]]"),
        ("2.0", "2.0\npeak = { hours_utc = [[1, 25]] }", "prices.mine.peak.hours_utc", 6, ""),
        ("2.0", "2.0\npeak = { hours_utc = [[nan, 2]] }", "prices.mine.peak.hours_utc", 6, ""),
        ("2.0", "2.0\npeak = { hours_utc = [[1, 2]], factor = nan }", "prices.mine.peak.factor", 6, ""),
        (
            "2.0",
            "2.0\npeak = { hours = [[1, 2]] }",
            "prices.mine.peak.hours",
            6,
            "Did you mean prices.mine.peak.hours_utc?",
        ),
        ("[prices.mine]", "[price.mine]", "price", 1, "Did you mean prices?"),
        ("[prices.mine]", 'checked = "today"\n[prices.mine]', "checked", 1, "2026-09-10"),
    ],
)
def test_a_mistake_is_told_with_file_key_line_and_nearest_key(
    old: str, new: str, key: str, line: int, hint: str
) -> None:
    path = own(ONE.replace(old, new, 1))
    with pytest.raises(ApiPricesError) as caught:
        load_api_prices()
    error = caught.value
    assert (error.file, error.key, error.line) == (path, key, line)
    assert error.title == "The API prices cannot be used"
    assert f"{path}, line {line}: {key}: " in error.detail
    assert hint in error.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[prices.mine\n", "line 1: not valid TOML"),
        (b"[prices.mine]\n\ntitle = '\xff'\n", "line 3: not UTF-8 text"),
        (b"a = [" * 5000, "not valid TOML"),
        (b"#" * 70_000, "larger than 64 KB"),
        (b"[prices]\n", "there is no price in it"),
        (b"", "missing key"),
        (b"prices = 3\n", "wrong type"),
        (b"[prices]\nmine = 3\n", "expected a table"),
    ],
)
def test_a_file_that_is_no_table_of_prices_is_told(content: bytes, words: str) -> None:
    own("").write_bytes(content)
    with pytest.raises(ApiPricesError) as caught:
        load_api_prices()
    assert words in caught.value.detail


def test_a_file_that_cannot_be_read_is_told() -> None:
    user_file().mkdir(parents=True)
    with pytest.raises(ApiPricesError, match="not a file"):
        load_api_prices()


def test_control_characters_of_a_file_do_not_reach_the_message() -> None:
    own(ONE.replace("title", '"\\u001b[31m"'))
    with pytest.raises(ApiPricesError) as caught:
        load_api_prices()
    assert "\x1b" not in str(caught.value) + caught.value.hint
