"""Receipts: one for each answer, written with it, of what it took and what that cost on its day."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

import msgspec
import pytest

from backends import paths
from backends.errors import EngineDied, ErrorInfo
from backends.events import (
    Cost,
    DeviceEnergy,
    Done,
    Energy,
    Metered,
    PromptProgress,
    Reasoning,
    Text,
    Timings,
    Usage,
)
from backends.host import spool
from backends.host.wire import AnswerEvent, Failed, Record, encode
from tui.chat import recovery
from tui.chat.answer import Answer, fold
from tui.chat.bill import ASSUMED_PRICE_PER_KWH, Rates, own_cost
from tui.chat.storing.migrations import MIGRATIONS
from tui.chat.storing.receipts import Receipt, receipt
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoredMessage, StoreError, new_id
from tui.settings import SettingsError, load_settings, save_settings, settings_file

ASKED = Asked("starter", "echo", "model")
USAGE = Usage(10, 4, 2, 5)
TIMINGS = Timings(1.0, 2.0, 3.0, 2.0)
ENERGY = Energy(3600.0, "measured", 600.0, (DeviceEnergy("GPU", "NVML energy counter", True, decode_j=3600.0),))


def answer(*events: AnswerEvent) -> Answer:
    return fold([Record("a", number, float(number + 1), event) for number, event in enumerate(events)])


def finished(store: Store, *events: AnswerEvent) -> StoredMessage:
    row = store.begin(new_id(), ASKED, "question")
    assert store.finish(row.id, answer(*events))
    return row


def only(store: Store) -> Receipt:
    (found,) = store.receipts()
    return found


def test_an_answer_has_one_receipt_of_all_that_is_known_of_it() -> None:
    store = Store(rates=Rates(price_per_kwh=0.5, currency="EUR", psu_efficiency=1.0))
    row = finished(store, Text("answer"), Done("stop", USAGE, TIMINGS, ENERGY))
    found = only(store)
    assert (found.id, found.message, found.conversation, found.kind) == (row.id, row.id, row.conversation, "answer")
    assert (found.preset, found.backend, found.model) == ("starter", "echo", "model")
    tokens = (found.prompt_tokens, found.cached_tokens, found.reasoning_tokens, found.output_tokens)
    assert tokens == (10, 4, 2, 5)
    assert (found.load_s, found.prefill_s, found.decode_s, found.seconds) == (1.0, 2.0, 3.0, 6.0)
    assert (found.energy_uj, found.idle_uj, found.energy) == (3_600_000_000, 600_000_000, ENERGY)
    assert (found.money_nano, found.currency) == (500_000, "EUR")  # a thousandth of a kilowatt-hour
    store.close()


def test_finishing_twice_writes_no_second_receipt() -> None:
    store = Store()
    row = finished(store, Text("answer"), Done("stop", USAGE, TIMINGS, ENERGY))
    assert not store.finish(row.id, answer(Text("other"), Done("stop", Usage(99, 0, 0, 99))))
    assert only(store).prompt_tokens == 10
    store.close()


def test_an_answer_and_its_receipt_are_written_together_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    row = store.begin(new_id(), ASKED, "question")

    def broken(*_: object) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr("tui.chat.storing.receipts.insert", broken)
        with pytest.raises(StoreError):
            store.finish(row.id, answer(Text("answer"), Done("stop", USAGE)))
    assert store.streaming() == [row.id]
    assert store.receipts() == []
    assert store.finish(row.id, answer(Text("answer"), Done("stop", USAGE)))
    assert only(store).id == row.id
    store.close()


def test_an_answer_that_was_cut_off_keeps_the_joules_that_were_told() -> None:
    store = Store()
    metered = Metered(ENERGY, 120.0)
    row = finished(
        store, PromptProgress(8, 8, 3), Reasoning("hm"), Metered(Energy(1.0, "measured")), Text("a"), metered
    )
    stored = store.message(row.id)
    assert stored is not None
    assert (stored.state, stored.energy) == ("interrupted", ENERGY)
    found = only(store)
    assert found.energy_uj == 3_600_000_000
    assert (found.prompt_tokens, found.cached_tokens, found.reasoning_tokens, found.output_tokens) == (8, 3, 1, 2)
    assert found.decode_s == 3.0  # from its first token to the last record
    assert found.money_nano
    store.close()


def test_an_engine_that_died_is_paid_for_too() -> None:
    store = Store()
    died = Failed(ErrorInfo(EngineDied.kind, "gone", "", ""))
    finished(store, Text("a"), Metered(ENERGY), died)
    assert only(store).energy_uj == 3_600_000_000
    store.close()


def test_of_an_answer_that_never_began_there_is_no_receipt() -> None:
    store = Store()
    finished(store)
    assert store.receipts() == []
    store.close()


def test_a_figure_that_no_column_holds_costs_no_answer() -> None:
    store = Store()
    row = finished(
        store, Text("answer"), Done("stop", Usage(10**19, 0, 0, 5), TIMINGS, cost=Cost(1e30, "USD", "preset"))
    )
    stored = store.message(row.id)
    assert stored is not None
    assert (stored.state, stored.text) == ("done", "answer")
    assert (only(store).prompt_tokens, only(store).output_tokens, only(store).money_nano) == (None, 5, None)
    store.close()


def test_deleting_a_chat_keeps_its_receipts_without_its_name() -> None:
    store = Store()
    row = finished(store, Text("answer"), Done("stop", USAGE, TIMINGS, ENERGY))
    before = only(store)
    store.delete(row.conversation)
    assert only(store) == msgspec.structs.replace(before, conversation=None, message=None)
    store.close()


def test_what_is_asked_for_by_time_begins_at_the_first_moment_and_ends_before_the_last() -> None:
    store = Store()
    for at in (1.0, 2.0, 3.0):
        assert store.keep(receipt(f"r{at:.0f}", "loading", at, None, Timings(load_s=1.0), None, None))
    assert [found.id for found in store.receipts(1.0, 3.0)] == ["r1", "r2"]
    assert [found.id for found in store.receipts(since=2.0)] == ["r2", "r3"]
    assert [found.id for found in store.receipts(until=2.0)] == ["r1"]
    store.close()


def test_a_receipt_that_belongs_to_no_answer_is_kept_once_and_gets_its_price() -> None:
    store = Store(rates=Rates(price_per_kwh=0.5, psu_efficiency=1.0))
    loading = receipt("r", "loading", 5.0, None, Timings(load_s=4.0), ENERGY, None)
    assert store.keep(loading)
    assert not store.keep(loading)
    assert (only(store).money_nano, only(store).currency, only(store).kind) == (500_000, "USD", "loading")
    store.close()


def test_money_stays_as_it_was_when_the_tariff_changes() -> None:
    store = Store(rates=Rates(price_per_kwh=0.5, psu_efficiency=1.0))
    finished(store, Text("a"), Done("stop", USAGE, TIMINGS, ENERGY))
    store.close()
    dearer = Store(rates=Rates(price_per_kwh=5.0, currency="EUR", psu_efficiency=1.0))
    finished(dearer, Text("a"), Done("stop", USAGE, TIMINGS, ENERGY))
    assert [(one.money_nano, one.currency) for one in dearer.receipts()] == [(500_000, "USD"), (5_000_000, "EUR")]
    dearer.close()


def test_what_a_server_charges_goes_before_what_its_energy_costs() -> None:
    store = Store()
    finished(store, Text("a"), Done("stop", USAGE, TIMINGS, ENERGY, Cost(0.25, "EUR", "preset")))
    assert (only(store).money_nano, only(store).currency) == (250_000_000, "EUR")
    store.close()


def test_answers_from_before_receipts_get_one_each() -> None:
    path = paths.database()
    path.parent.mkdir(parents=True)
    old = sqlite3.connect(path, isolation_level=None)
    for migration in MIGRATIONS[:2]:
        for statement in migration.statements:
            old.execute(statement)
    old.execute("PRAGMA user_version = 2")
    old.execute("INSERT INTO conversation VALUES ('c', 'title', 1.0, 9.0, 'mine', NULL)")
    usage, timings = msgspec.json.encode(USAGE).decode(), msgspec.json.encode(TIMINGS).decode()
    cost = json.dumps({"amount": 0.0015, "currency": "EUR", "source": "preset"})
    rows = (
        ("question", "user", "done", None, None, None, None),
        ("whole", "assistant", "done", 7.5, usage, timings, cost),
        ("bare", "assistant", "stopped", None, "{}", None, None),
        ("unknown", "assistant", "failed", 8.0, None, None, None),
        ("running", "assistant", "streaming", None, usage, None, None),
    )
    for name, role, state, at, *figures in rows:
        old.execute(
            "INSERT INTO message (id, conversation, role, text, state, preset, created_at, finished_at, usage, timings,"
            " cost) VALUES (?, 'c', ?, '', ?, 'mine', 2.0, ?, ?, ?, ?)",
            (name, role, state, at, *figures),
        )
    old.close()
    store = Store()
    bare, whole = store.receipts()
    assert (bare.id, bare.at, bare.prompt_tokens, bare.energy_uj, bare.money_nano) == ("bare", 2.0, None, None, None)
    assert (whole.id, whole.at, whole.conversation, whole.preset) == ("whole", 7.5, "c", "mine")
    assert (whole.prompt_tokens, whole.output_tokens, whole.seconds) == (10, 5, 6.0)
    assert (whole.money_nano, whole.currency) == (1_500_000, "EUR")
    assert whole.cost == Cost(0.0015, "EUR", "preset")
    assert store.rows("PRAGMA foreign_key_check") == []
    store.close()


def test_electricity_is_what_the_wall_gives_at_the_tariff() -> None:
    rates = Rates(price_per_kwh=0.4, psu_efficiency=0.8, rest_watts=50.0)
    # (3600 J + 50 W × 6 s) ÷ 0.8 = 4875 J at the wall; of 3.6 MJ a kilowatt-hour has, at 0.40
    expected = 4875 / 3.6e6 * 0.4
    assert own_cost(ENERGY, TIMINGS, rates) == Cost(pytest.approx(expected), "USD", "tariff", pytest.approx(expected))


def test_hardware_is_spread_over_the_seconds_in_which_it_answers() -> None:
    rates = Rates(price_per_kwh=0.0, hardware_price=1000.0, lifetime_years=2.0, utilisation=0.25, currency="EUR")
    # 1000 over a quarter of two years of 365.25 days; 6 s of it
    wear = 6.0 * 1000.0 / (2.0 * 365.25 * 86_400 * 0.25)
    found = own_cost(ENERGY, TIMINGS, rates)
    assumed = ("power supply", "hardware")
    assert found == Cost(pytest.approx(wear), "EUR", "tariff", 0.0, pytest.approx(wear), assumed)


def test_no_price_is_assumed_in_another_currency_than_dollars() -> None:
    assert own_cost(ENERGY, TIMINGS, Rates(currency="JPY")) is None
    found = own_cost(ENERGY, TIMINGS, Rates())
    assert found is not None
    assert (found.currency, found.source, found.assumptions) == ("USD", "assumed tariff", ("tariff", "power supply"))


def test_an_answer_that_is_taken_in_later_is_on_the_bill_of_the_day_it_ended() -> None:
    store = Store()
    descriptor = spool.create("a1")
    store.begin("a1", ASKED, "q")
    for seq, event in enumerate((Text("a"), Done("stop", Usage(1, 0, 0, 1)))):
        os.write(descriptor, encode(Record("a1", seq, 0.1, event)))
    os.close(descriptor)
    long_ago = time.time() - 20 * 86_400
    os.utime(spool.path_of("a1"), (long_ago, long_ago))
    recovery.take_in_all(store)
    (one,) = store.receipts()
    assert one.at == pytest.approx(long_ago, abs=1)
    store.close()


def test_without_a_tariff_the_usual_one_is_assumed_and_said() -> None:
    found = own_cost(ENERGY, None, Rates(psu_efficiency=1.0))
    assert found is not None
    assert (found.amount, found.source) == (pytest.approx(ASSUMED_PRICE_PER_KWH / 1000), "assumed tariff")
    assert found.hardware is None


def test_without_energy_an_answer_has_no_price_rather_than_none_to_pay() -> None:
    assert own_cost(None, TIMINGS, Rates(hardware_price=1000.0)) is None


def settings(text: str) -> Path:
    path = settings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_table_bill_is_read_and_written() -> None:
    settings('[bill]\nprice_per_kwh = 0.41\ncurrency = "EUR"\nhardware_price = 1500\n')
    bill = load_settings({}).bill
    assert bill == Rates(price_per_kwh=0.41, currency="EUR", hardware_price=1500.0)
    save_settings(load_settings({}))
    assert load_settings({}).bill == bill


@pytest.mark.parametrize(
    ("line", "key", "hint"),
    [
        ("price_per_kw = 0.3", "bill.price_per_kw", "Did you mean bill.price_per_kwh?"),
        ('price_per_kwh = "0,30"', "bill.price_per_kwh", ""),
        ("price_per_kwh = -0.1", "bill.price_per_kwh", ""),
        ("price_per_kwh = nan", "bill.price_per_kwh", ""),
        ("price_per_kwh = inf", "bill.price_per_kwh", ""),
        ("rest_watts = nan", "bill.rest_watts", ""),
        ("hardware_price = nan", "bill.hardware_price", ""),
        ("psu_efficiency = 0", "bill.psu_efficiency", ""),
        ("psu_efficiency = 85", "bill.psu_efficiency", ""),
        ("lifetime_years = 0", "bill.lifetime_years", ""),
        ("utilisation = nan", "bill.utilisation", ""),
        ('currency = "€"', "bill.currency", ""),
        ('currency = "usd"', "bill.currency", ""),
    ],
)
def test_a_mistake_in_it_is_told_with_file_key_and_line(line: str, key: str, hint: str) -> None:
    path = settings(f"# mine\n\n[bill]\n{line}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    assert (caught.value.key, caught.value.line) == (key, 4)
    assert f"{path}, line 4: {key}: " in caught.value.detail
    assert hint in caught.value.hint
