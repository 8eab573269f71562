"""What is spent outside answers has receipts too: summaries, and models that were loaded and never asked."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from backends import paths
from backends.events import DeviceEnergy, Energy
from backends.host import unclaimed
from tui.chat import recovery
from tui.chat.bill import Rates
from tui.chat.storing.migrations import MIGRATIONS
from tui.chat.storing.receipts import Receipt
from tui.chat.storing.store import Store

LOADING = Energy(420.5, "measured", None, (DeviceEnergy("GPU 0 RTX 3070", "NVML energy counter", True, load_j=420.5),))


async def test_a_summary_has_a_receipt_of_its_own(screens: Any, target: Any) -> None:
    screen = screens(target(context=800, text="in short: words", reasoning="let me think"))
    for number in range(2):
        await screen.ask(f"question {number} {'word ' * 320}")
    await screen.ask("and now? " + "word " * 100)
    await screen.until(lambda session: not session.busy)
    screen.session.remedies.summarise()
    await screen.until(lambda session: not session.busy)
    taken = screen.store.receipts()
    (summary,) = [one for one in taken if one.kind == "summary"]
    assert summary.conversation == screen.session.conversation.id
    assert (summary.preset, summary.backend) == ("model", "echo")
    assert summary.output_tokens == 6
    assert summary.energy_uj is not None
    assert summary.message is None
    answers = [one.message for one in taken if one.kind == "answer"]
    assert set(answers) >= {m.id for m in screen.session.branch if m.role == "assistant"}


def test_what_a_model_used_that_was_never_asked_is_taken_in_once(home: Any) -> None:
    unclaimed.leave("14b", "llama_cpp", "/models/14b.gguf", 12.5, LOADING)
    store = Store(rates=Rates(price_per_kwh=0.5, psu_efficiency=1.0))
    recovery.take_in_all(store)
    recovery.take_in_all(store)
    (one,) = store.receipts()
    assert (one.kind, one.preset, one.backend, one.model) == ("loading", "14b", "llama_cpp", "/models/14b.gguf")
    assert (one.energy_uj, one.load_s) == (420_500_000, 12.5)
    assert one.money_nano == round(420.5 / 3.6e6 * 0.5 * 1e9)
    assert unclaimed.waiting() == []
    store.close()


def test_killed_between_keeping_and_deleting_it_counts_once(home: Any) -> None:
    unclaimed.leave("14b", "llama_cpp", "/models/14b.gguf", 12.5, LOADING)
    (left,) = unclaimed.waiting()
    store = Store()
    recovery.take_in_all(store)
    (paths.state() / "unclaimed" / f"{left.id}.json").write_bytes(msgspec.json.encode(left))
    recovery.take_in_all(store)
    assert len(store.receipts()) == 1
    store.close()


def test_a_damaged_file_keeps_nothing_from_being_taken_in(home: Any) -> None:
    unclaimed.leave("14b", "llama_cpp", "/models/14b.gguf", None, LOADING)
    folder = paths.state() / "unclaimed"
    (folder / "broken.json").write_text("{")
    (folder / "other.json").write_bytes((next(p for p in folder.iterdir() if p.stem != "broken")).read_bytes())
    store = Store()
    recovery.take_in_all(store)
    assert len(store.receipts()) == 1
    store.close()


def test_what_a_process_uses_by_being_there_is_on_no_receipt(home: Any) -> None:
    unclaimed.leave("14b", "llama_cpp", "x", 0.1, Energy(0.4, "estimated"))
    unclaimed.leave("14b", "llama_cpp", "x", 0.1, None)
    assert unclaimed.waiting() == []


def test_a_summary_of_a_chat_that_was_deleted_meanwhile_still_counts(home: Any) -> None:
    store = Store()
    assert store.keep(Receipt("s1", "summary", 1.0, conversation="gone", energy_uj=5))
    (one,) = store.receipts()
    assert (one.conversation, one.energy_uj) == (None, 5)
    assert not store.keep(one), "the same one again is none"
    store.close()


def test_answers_from_before_receipts_count_whatever_a_server_once_claimed(home: Any) -> None:
    path = paths.private(paths.data()) / "chats.sqlite3"
    db = sqlite3.connect(path)
    for number, migration in enumerate(MIGRATIONS[:2], 1):
        for statement in migration.statements:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {number}")
    db.execute("INSERT INTO conversation VALUES ('c', 'old', 1.0, 1.0, 'x', NULL)")
    claims = {"a1": '{"prompt_tokens":7,"output_tokens":3}', "a2": '{"prompt_tokens":99999999999999999999999}'}
    for answer, usage in claims.items():
        db.execute(
            "INSERT INTO message (id, conversation, role, text, state, created_at, usage)"
            " VALUES (?, 'c', 'assistant', '', 'done', 1.0, ?)",
            (answer, usage),
        )
    db.commit()
    db.close()
    store = Store()
    first, second = store.receipts()
    assert (first.prompt_tokens, first.output_tokens, first.energy_uj) == (7, 3, None)
    assert second.output_tokens is None
    store.close()
