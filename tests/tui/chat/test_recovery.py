"""Answers whose end nobody saw: each is taken in once, and nothing is left over. For kills see tests/e2e."""

from __future__ import annotations

import os
import threading
import time

import pytest

from backends import paths
from backends.events import Done, Text
from backends.host import spool
from backends.host.wire import Record, encode
from tui.chat import recovery
from tui.chat.answer import fold
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoreError

ASKED = Asked("p", "echo", "m")


def left_behind(store: Store, answer: str, *events: Text | Done) -> None:
    """Make what a client and a host that died leave: a row and a spool that nobody holds."""
    descriptor = spool.create(answer)
    store.begin(answer, ASKED, f"question {answer}")
    for seq, event in enumerate(events):
        os.write(descriptor, encode(Record(answer, seq, seq / 10, event)))
    os.close(descriptor)


def test_what_was_left_behind_is_finished_as_its_spool_says() -> None:
    store = Store()
    left_behind(store, "whole", Text("a"), Text(" b"), Done("stop"))
    left_behind(store, "cut", Text("a"))
    left_behind(store, "empty")
    assert recovery.take_in_all(store) == []
    rows = {name: store.message(name) for name in ("whole", "cut", "empty")}
    found = {name: (row.state, row.text) for name, row in rows.items() if row}
    assert found == {"whole": ("done", "a b"), "cut": ("interrupted", "a"), "empty": ("interrupted", "")}
    assert spool.answers() == []
    store.close()


def test_an_answer_without_its_spool_is_interrupted_and_keeps_what_it_had() -> None:
    store = Store()
    left_behind(store, "a1", Text("a"))
    spool.remove("a1")
    assert recovery.take_in(store, "a1")
    row = store.message("a1")
    assert row is not None
    assert row.state == "interrupted"
    store.close()


def test_what_somebody_still_writes_is_left_alone() -> None:
    store = Store()
    descriptor = spool.create("a1")
    store.begin("a1", ASKED, "q")
    assert recovery.take_in_all(store) == ["a1"]
    assert spool.answers() == ["a1"]
    os.close(descriptor)
    assert recovery.take_in_all(store) == []
    store.close()


def test_a_spool_whose_question_was_never_committed_goes_unless_somebody_is_about_to() -> None:
    store = Store()
    os.close(spool.create("dead"))
    descriptor = spool.create("about-to")
    assert recovery.take_in_all(store) == []
    assert spool.answers() == ["about-to"]
    os.close(descriptor)
    store.close()


def test_a_spool_of_an_answer_that_is_in_already_goes() -> None:
    store = Store()
    left_behind(store, "a1", Text("a"), Done("stop"))
    assert recovery.take_in(store, "a1")
    os.close(spool.create("a1"))
    assert recovery.take_in(store, "a1")
    row = store.message("a1")
    assert (spool.answers(), row and row.text) == ([], "a")
    store.close()


def test_a_spool_goes_whose_answer_was_finished_by_one_who_died_before_deleting_it() -> None:
    store = Store()
    left_behind(store, "a1", Text("a"), Done("stop"))
    store.finish("a1", fold(spool.read("a1")))
    assert spool.answers() == ["a1"]
    assert recovery.take_in_all(store) == []
    assert spool.answers() == []
    row = store.message("a1")
    assert row is not None
    assert (row.state, row.text) == ("done", "a")
    assert len(store.receipts()) <= 1
    store.close()


def test_words_of_a_chat_that_was_deleted_are_not_found_again() -> None:
    store = Store()
    left_behind(store, "a1", Text("forget me"), Done("stop"))
    store.finish("a1", fold(spool.read("a1"), None))  # Who did it died before deleting the spool.
    row = store.message("a1")
    assert row is not None
    store.delete(row.conversation)
    assert spool.answers() == []
    assert recovery.take_in_all(store) == []
    assert store.count() == 0
    store.close()


def test_what_is_no_spool_of_ours_is_passed_over() -> None:
    store = Store()
    left_behind(store, "a1", Text("a"), Done("stop"))
    for name in ("a1 (copy).jsonl", ".a1.jsonl.swp", "é.jsonl"):
        (paths.spools() / name).write_text("{}\n")
    assert recovery.take_in_all(store) == []
    row = store.message("a1")
    assert row is not None
    assert row.state == "done"
    store.close()


def test_a_spool_that_cannot_be_read_keeps_neither_the_others_nor_the_program() -> None:
    store = Store()
    for answer in ("bad", "good"):
        left_behind(store, answer, Text("a"), Done("stop"))
    spool.remove("bad")
    spool.path_of("bad").mkdir()
    assert recovery.take_in_all(store) == ["bad"]
    row = store.message("good")
    assert row is not None
    assert row.state == "done"
    with pytest.raises(StoreError, match="cannot be taken in") as raised:
        recovery.take_in(store, "bad")
    assert str(spool.path_of("bad")) in raised.value.detail
    assert raised.value.hint
    store.close()


def test_many_who_take_in_at_once_do_it_once() -> None:
    store = Store()
    for number in range(10):
        left_behind(store, f"a{number}", Text("a"), Done("stop"))
    finished: list[str] = []
    real = Store.finish

    class Counting(Store):
        def finish(self, answer: str, result: object, ended_at: float | None = None) -> bool:
            changed = real(self, answer, result, ended_at)  # type: ignore[arg-type]
            if changed:
                finished.append(answer)
            return changed

    def work() -> None:
        own = Counting()
        while recovery.take_in_all(own):
            time.sleep(0.001)
        own.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(finished) == [f"a{number}" for number in range(10)]
    assert {row["state"] for row in store.rows("SELECT state FROM message WHERE role = 'assistant'")} == {"done"}
    assert spool.answers() == []
    store.close()
