"""Receipts added up: any grouping has the same total to the last microjoule, and unknown is never 0."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.events import Cost, DeviceEnergy, Energy, Timings
from backends.events import Usage as Tokens
from presets.api_prices import ApiPrice, ApiPrices, Peak
from tui.chat import amounts
from tui.chat.bill import Rates, own_cost
from tui.chat.storing.receipts import Receipt, insert, receipt
from tui.chat.storing.store import Store
from tui.chat.usage import Grouping, Row, Usage, usage

NOON = 1_790_000_000.0  # 2026-09-21 14:13 UTC
KWH_UJ = 3_600_000_000_000
PRICES = ApiPrices((ApiPrice("one", "One", 0.0, None, 1.0, 0.1, 2.0, "USD"),), "", Path("prices"), True)


@pytest.fixture(autouse=True)
def in_berlin() -> Iterator[None]:
    """Days are those of a place whose clock is changed twice a year."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def one(name: str = "a", at: float = NOON, kind: Any = "answer", **fields: Any) -> Receipt:
    return Receipt(name, kind, at, **{"preset": "mine", "backend": "llama_cpp", "conversation": "chat"} | fields)


def metered(joules: float, *, measured: bool = True, cost: Cost | None = None, name: str = "a") -> Receipt:
    source = "measured" if measured else "estimated"
    found = receipt(name, "answer", NOON, None, None, Energy(joules, source, joules / 10), cost)
    return msgspec.structs.replace(found, preset="mine")


def only(used: Usage) -> Row:
    (row,) = used.rows
    return row


def keys(used: Usage) -> list[str]:
    return [row.key for row in used.rows]


def test_nothing_used_is_no_row_and_an_unknown_total() -> None:
    used = usage([], "day", PRICES)
    assert used.rows == ()
    assert (used.total.answers, used.total.energy_uj, used.total.output_tokens, used.total.money) == (0, None, None, {})


def test_days_and_months_are_those_of_the_local_calendar_oldest_first() -> None:
    late = 1_790_029_800.0  # 2026-09-21 22:30 UTC, half past midnight in Berlin
    assert keys(usage([one(at=late), one(at=NOON)], "day")) == ["2026-09-21", "2026-09-22"]
    assert keys(usage([one(at=1_790_806_500.0), one(at=NOON)], "month")) == ["2026-09", "2026-10"]


def test_the_day_with_25_hours_is_one_row() -> None:
    start = 1_792_879_200.0  # 2026-10-25 00:00 in Berlin
    receipts = [one(at=start + hour * 3600) for hour in range(26)]
    assert [(row.key, row.answers) for row in usage(receipts, "day").rows] == [("2026-10-25", 25), ("2026-10-26", 1)]


@pytest.mark.parametrize("at", [0.0, -1e9, -1e15, 253402300800.0, 1e12, 1e300, math.inf, -math.inf])
def test_a_time_from_nowhere_does_not_end_the_bill(at: float) -> None:
    for by in get_args(Grouping):
        assert usage([one(at=at), one()], by, PRICES).total.answers == 2


def test_deleted_chats_are_one_row_apart_from_what_was_never_asked() -> None:
    receipts = [
        one("a", conversation="x" * 24),
        one("b", conversation=None),
        one("c", conversation=None, kind="summary"),
        one("d", conversation=None, kind="loading"),
    ]
    rows = usage(receipts, "chat", titles={"x" * 24: "Sky"}).rows
    assert {row.title: (row.answers, row.receipts) for row in rows} == {
        "Sky": (1, 1),
        "deleted chats": (1, 2),
        "loaded, not asked": (0, 1),
    }


def test_what_took_most_energy_is_first_and_names_are_those_that_people_know() -> None:
    receipts = [one("a", energy_uj=1), one("b", backend="openai", energy_uj=5), one("c", backend=None)]
    assert [row.title for row in usage(receipts, "backend").rows] == ["OpenAI API", "llama.cpp", "unknown"]


def test_what_is_unknown_is_counted_and_never_0() -> None:
    row = only(usage([one()], "day", PRICES))
    figures = (row.prompt_tokens, row.cached_tokens, row.reasoning_tokens, row.output_tokens, row.seconds)
    assert figures == (None,) * 5
    assert (row.energy_uj, row.idle_uj, row.money, row.api) == (None, None, {}, {})
    assert (row.uncounted, row.unmetered, row.unpriced, row.compared) == (1, 1, 1, 0)


def test_what_is_known_is_added_up_beside_it() -> None:
    known = one("b", prompt_tokens=3, output_tokens=4, decode_s=1.5, energy_uj=7, money_nano=9, currency="USD")
    row = only(usage([one(), known], "day", PRICES))
    assert (row.prompt_tokens, row.output_tokens, row.seconds, row.energy_uj, row.money) == (3, 4, 1.5, 7, {"USD": 9})
    assert (row.uncounted, row.unmetered, row.unpriced, row.compared) == (1, 1, 1, 1)


def test_a_loaded_model_lacks_no_tokens() -> None:
    row = only(usage([one(kind="loading", load_s=2.0)], "preset", PRICES))
    assert (row.answers, row.uncounted, row.unmetered, row.unpriced, row.api) == (0, 0, 0, 0, {})


def test_energy_of_devices_that_nobody_measured_is_told_apart() -> None:
    devices = (DeviceEnergy("GPU", "NVML", True, decode_j=8.0), DeviceEnergy("CPU", "time", False, decode_j=2.0))
    mixed = receipt("m", "answer", NOON, None, None, Energy(10.0, "partly estimated", None, devices), None)
    row = usage([mixed, metered(5.0, measured=False), metered(3.0)], "day").total
    assert (row.energy_uj, row.estimated_uj, row.idle_uj) == (18_000_000, 7_000_000, 800_000)


def test_currencies_are_kept_apart_and_an_assumed_tariff_is_told() -> None:
    paid = metered(1.0, cost=Cost(0.5, "EUR", "preset"))
    assumed = metered(1.0, cost=Cost(0.25, "USD", "assumed tariff"))
    own = metered(1.0, cost=Cost(0.125, "USD", "tariff"))
    row = usage([paid, assumed, own], "day").total
    assert row.money == {"EUR": 500_000_000, "USD": 375_000_000}
    assert (row.guessed, row.assumed) == ({"USD": 250_000_000}, True)
    assert not usage([paid, own], "day").total.assumed


def test_money_from_estimated_energy_is_a_guess_but_not_what_a_server_charges() -> None:
    own = metered(1.0, measured=False, cost=Cost(0.5, "USD", "tariff"))
    charged = metered(1.0, measured=False, cost=Cost(0.5, "EUR", "preset"))
    assert usage([own, charged], "day").total.guessed == {"USD": 500_000_000}


def test_an_answer_bears_its_share_of_loading_but_not_of_answers_without_a_price() -> None:
    receipts = [
        one("a", money_nano=10, currency="USD"),
        one("b", money_nano=20, currency="USD"),
        one("c", kind="loading", money_nano=30, currency="USD"),
        one("d"),
    ]
    assert only(usage(receipts, "preset")).per_answer == {"USD": 30.0}
    assert only(usage(receipts[2:3], "preset")).per_answer == {}


def test_published_figures_stand_beside_presets_alone() -> None:
    assert only(usage([one()], "preset", published={"mine": 0.0015})).published_usd == 0.0015
    assert only(usage([one()], "day", published={"mine": 0.0015})).published_usd is None


def test_the_api_is_asked_its_price_of_the_day() -> None:
    cheaper = ApiPrice("two", "Two", NOON, None, 0.5, None, 1.0, "USD")
    prices = ApiPrices((msgspec.structs.replace(PRICES.entries[0], until_s=NOON), cheaper), "", Path("prices"), True)
    counted = {"prompt_tokens": 1_000_000, "cached_tokens": 500_000, "output_tokens": 1_000_000}
    used = usage([one(at=NOON - 1, **counted), one(at=NOON, **counted)], "month", prices)
    assert used.total.api == {"USD": 2_550_000_000 + 1_500_000_000}
    assert [price.title for price in used.compared_with] == ["One", "Two"]


def test_the_price_that_is_told_is_the_one_without_its_peak() -> None:
    always = Peak(((0.0, 24.0),), 2.0, weekdays_only=False)
    prices = msgspec.structs.replace(PRICES, entries=(msgspec.structs.replace(PRICES.entries[0], peak=always),))
    used = usage([one(prompt_tokens=1_000_000, output_tokens=0)], "day", prices)
    assert used.total.api == {"USD": 2_000_000_000}
    assert [price.name for price in used.compared_with] == ["one"]


MAYBE = st.none() | st.integers(0, 10**12)
NAMES = st.none() | st.sampled_from(["a", "b", "=c"])
RECEIPTS = st.builds(
    Receipt,
    id=st.uuids().map(str),
    kind=st.sampled_from(["answer", "summary", "loading"]),
    at=st.floats(0, 4e9),
    preset=NAMES,
    backend=NAMES,
    model=NAMES,
    prompt_tokens=MAYBE,
    cached_tokens=MAYBE,
    output_tokens=MAYBE,
    decode_s=st.none() | st.floats(0, 1e6),
    energy_uj=MAYBE,
    idle_uj=MAYBE,
    money_nano=MAYBE,
    currency=st.none() | st.sampled_from(["USD", "EUR"]),
)


def added(rows: tuple[Row, ...], field: str) -> Any:
    values = [getattr(row, field) for row in rows if getattr(row, field) is not None]
    if any(isinstance(value, dict) for value in values):
        return {
            name: sum(value.get(name, 0) for value in values) for name in {name for value in values for name in value}
        }
    return sum(values) if values else None


@given(st.lists(RECEIPTS, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_grouping_adds_up_to_the_same_total(receipts: list[Receipt]) -> None:
    totals = []
    for by in get_args(Grouping):
        used = usage(receipts, by, PRICES)
        totals.append(used.total)
        if not receipts:
            continue
        for field in Row.__struct_fields__:
            if field not in {"key", "title", "assumed", "assumptions", "published_usd", "seconds"}:
                assert added(used.rows, field) == getattr(used.total, field), field
        assert math.fsum(row.seconds or 0.0 for row in used.rows) == pytest.approx(used.total.seconds or 0.0)
    assert all(total == totals[0] for total in totals)


@given(st.lists(RECEIPTS, max_size=8, unique_by=lambda found: found.id))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_total_is_what_the_database_adds_up(receipts: list[Receipt]) -> None:
    store = Store()
    try:
        with store.transaction() as db:
            db.execute("DELETE FROM receipt")
            for found in receipts:
                insert(db, found)
        total = usage(store.receipts(), "day").total
        row = store.rows("SELECT sum(energy_uj), sum(idle_uj), sum(output_tokens), count(*) FROM receipt")[0]
        assert tuple(row) == (total.energy_uj, total.idle_uj, total.output_tokens, total.receipts)
        money = store.rows(
            "SELECT currency, sum(money_nano) FROM receipt WHERE currency IS NOT NULL AND money_nano IS NOT NULL"
            " GROUP BY currency"
        )
        assert dict(money) == total.money
    finally:
        store.close()


def test_the_tokens_of_a_real_answer_are_those_of_its_receipt() -> None:
    found = receipt("r", "answer", NOON, Tokens(10, 4, 3, 5), Timings(1.0, 2.0, None), None, None)
    row = usage([found], "day").total
    assert (row.prompt_tokens, row.cached_tokens, row.reasoning_tokens, row.output_tokens) == (10, 4, 3, 5)
    assert row.seconds == 3.0


@pytest.mark.parametrize(
    ("microjoules", "text"),
    [
        (None, "–"),
        (0, "0.00 Wh"),
        (KWH_UJ // 1_000_000, "1.00 mWh"),
        (KWH_UJ // 2000, "0.50 Wh"),
        (KWH_UJ // 8, "125 Wh"),
        (KWH_UJ * 12, "12.0 kWh"),
    ],
)
def test_energy_is_read_at_a_glance(microjoules: int | None, text: str) -> None:
    assert amounts.energy(microjoules) == text


def test_tokens_are_read_at_a_glance() -> None:
    assert [amounts.tokens(count) for count in (None, 0, 12_345, 1_234_567)] == ["–", "0", "12,345", "1.23M"]
    assert amounts.energy(KWH_UJ, estimated=True) == "~1.00 kWh"


def test_a_share_of_the_hardware_makes_money_an_estimate_also_at_your_tariff() -> None:
    energy = Energy(3600.0, "measured", None, (DeviceEnergy("GPU 0", "NVML energy counter", True, decode_j=3600.0),))
    plain = Rates(price_per_kwh=0.32, currency="EUR", psu_efficiency=0.9)
    for rates, rests_on in ((plain, ()), (msgspec.structs.replace(plain, hardware_price=450.0), ("hardware",))):
        cost = own_cost(energy, Timings(decode_s=10.0), rates)
        total = usage([receipt("r", "answer", 0.0, None, None, energy, cost)], "day").total
        assert (total.assumptions, bool(total.guessed)) == (rests_on, bool(rests_on))
        assert not total.assumed


def test_energy_of_which_a_part_is_missing_is_counted_as_such() -> None:
    part = Energy(3600.0, "measured", incomplete=True)
    total = usage([receipt("r", "answer", 0.0, None, None, part, None)], "day").total
    assert (total.incomplete, total.unmetered, total.energy_uj) == (1, 0, 3_600_000_000)
