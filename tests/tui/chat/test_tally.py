"""The bill of one chat: the sum of its receipts, and what is missing from it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from backends.events import Cost, Done, Energy, Timings, Usage
from backends.host.wire import Record
from tui.chat.answer import fold
from tui.chat.storing.receipts import Receipt
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoreError, new_id
from tui.chat.tally import ChatBill, Tally, tally

ASSUMED = Cost(0.001, "USD", "assumed tariff")


def said(store: Store, conversation: str | None = None, joules: float = 3600.0) -> str:
    answer = new_id()
    row = store.begin(answer, Asked("p", "echo", "m"), "Why?", conversation)
    done = Done("stop", Usage(1, 0, 0, 1), Timings(), Energy(joules, "measured"))
    store.finish(answer, fold([Record(answer, 0, 0.0, done)]))
    return row.conversation


def test_nothing_is_not_0_joules() -> None:
    assert tally([]) == Tally()


def test_receipts_are_added_up_in_whole_numbers() -> None:
    found = tally(
        [
            Receipt("a", "answer", 1.0, energy_uj=3, money_nano=5, currency="USD"),
            Receipt("b", "summary", 2.0, energy_uj=4, money_nano=6, currency="USD"),
            Receipt("c", "answer", 3.0, money_nano=7, currency="EUR"),
            Receipt("d", "answer", 4.0, energy_uj=9),
        ]
    )
    assert found == Tally(4, {"USD": 11, "EUR": 7}, 16, 1, 1)


def test_an_estimate_and_an_assumed_tariff_in_it_mark_the_sum() -> None:
    found = tally([Receipt("a", "answer", 1.0, energy=Energy(1.0, "partly estimated"), cost=ASSUMED)])
    assert (found.estimated, found.assumed) == (True, True)


def test_a_store_gives_the_receipts_of_one_chat_alone(home: Any) -> None:
    store = Store()
    one, other = said(store), said(store)
    said(store, one)
    assert [receipt.conversation for receipt in store.receipts_of(one)] == [one, one]
    assert len(store.receipts_of(other)) == 1
    assert store.receipts_of("nobody") == []
    store.close()


def test_the_bill_follows_the_chat_that_is_open(home: Any) -> None:
    store, bill = Store(), ChatBill()
    one = said(store)
    session: Any = SimpleNamespace(store=store, conversation=SimpleNamespace(id=one))
    asyncio.run(bill.read(session))
    assert bill.tally is not None
    assert bill.tally.energy_uj == 3_600_000_000
    session.conversation = None
    asyncio.run(bill.read(session))
    assert bill.tally == Tally()
    store.close()


def test_a_locked_store_leaves_what_was_known_of_the_same_chat(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store, bill = Store(), ChatBill()
    one, other = said(store), said(store)
    session: Any = SimpleNamespace(store=store, conversation=SimpleNamespace(id=one))
    asyncio.run(bill.read(session))
    known = bill.tally

    def locked(_conversation: str) -> list[Receipt]:
        raise StoreError("locked")

    monkeypatch.setattr(store, "receipts_of", locked)
    asyncio.run(bill.read(session))
    assert bill.tally == known
    session.conversation = SimpleNamespace(id=other)
    asyncio.run(bill.read(session))
    assert bill.tally is None
    store.close()
