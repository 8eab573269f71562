"""Whoever dies, whenever: what was said is taken in once, whole up to the last second, and nothing is left over."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import paths
from backends.events import Done, Text
from backends.host import spool
from backends.host.wire import Record, encode
from tui.chat import recovery
from tui.chat.answer import fold
from tui.chat.store import Store
from tui.chat.stored import Asked, StoreError

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


# Kills at random moments.

WORDS = " ".join(f"w{number}" for number in range(60))
SPEED = 80.0
CHILD = """
import asyncio, sys, time
from backends.base import Sampling
from backends.host.wire import HostSpec
from tui.chat.session import Session
from tui.chat.store import Store
from tui.chat.target import Target

def tell(*words):
    print(*words, flush=True)

async def main(name, words, speed):
    options = {"text": words, "tokens_per_second": speed}
    spec = HostSpec("echo", "m", options, "Echo", "this build", 30.0)
    news = asyncio.Event()
    def changed(change):
        news.set()
        if session.answer is not None and session.answering is not None:
            tell("grown", session.answering.id, len(session.answer.text), time.monotonic())
        if session.host_pid:
            tell("host", session.host_pid)
    session = Session(Store(), changed)
    session.choose(Target("p", "P", spec, Sampling(), "auto"))
    for number in range(100):
        question = f"{name} {number}"
        tell("asking", question)
        await session.send(question)
        tell("asked", question)
        while session.busy:
            news.clear()
            await news.wait()

asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
"""


class Victim:
    """A child that asks and tells what it sees."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-c", CHILD, name, WORDS, str(SPEED)]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.asked: set[str] = set()
        self.asking: set[str] = set()
        self.grown: dict[str, list[tuple[int, float]]] = {}
        self.host: int | None = None
        self.lines: queue.Queue[str] = queue.Queue()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            if not line.endswith("\n"):
                break  # cut off by the kill
            kind, _, rest = line.strip().partition(" ")
            if kind == "asking":
                self.asking.add(rest)
            elif kind == "asked":
                self.asked.add(rest)
            elif kind == "grown":
                answer, length, at_s = rest.split()
                self.grown.setdefault(answer, []).append((int(length), float(at_s)))
            elif kind == "host":
                self.host = int(rest)
            self.lines.put(kind)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()
        self._reading.join()
        assert self.child.stdout is not None
        self.child.stdout.close()


def kill_host(pid: int | None) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("seed", [1])
def test_killed_at_random_moments_nothing_said_is_lost(home: Path, seed: int, end_hosts: Callable[[], None]) -> None:
    """The reader's promise: each question once, each answer a prefix of the script with at most a second missing."""
    chance = random.Random(seed)
    asked: set[str] = set()
    asking: set[str] = set()
    must_have: dict[str, int] = {}
    for number in range(20):
        victim = Victim(f"kill {number}")
        who = chance.choice(["child", "host", "both", "host first", "child first"])
        patience_s = chance.uniform(0.0, 0.9)
        assert victim.lines.get(timeout=20) in {"asking", "host"}
        time.sleep(patience_s)
        died_at = time.monotonic()
        if who in {"host", "both", "host first"}:
            kill_host(victim.host)
        if who in {"host first", "child first"}:
            time.sleep(chance.uniform(0, 0.05))
        if who == "host":
            time.sleep(0.3)  # the child goes on: it says what died and may ask anew
        victim.kill()
        if who in {"both", "child first"}:
            kill_host(victim.host)
        asked |= victim.asked
        asking |= victim.asking
        for answer, steps in victim.grown.items():
            must_have[answer] = max((length for length, at_s in steps if at_s <= died_at - 1.0), default=0)
        if chance.random() < 0.5:
            recovery_run()
    end_hosts()
    deadline = time.monotonic() + 10
    while recovery_run():
        assert time.monotonic() < deadline
        time.sleep(0.05)

    store = Store()
    assert store.rows("PRAGMA integrity_check")[0][0] == "ok"
    assert store.rows("PRAGMA foreign_key_check") == []
    questions = [row["text"] for row in store.rows("SELECT text FROM message WHERE role = 'user'")]
    assert len(questions) == len(set(questions))
    assert asked <= set(questions) <= asking
    answers = store.rows("SELECT id, text, state FROM message WHERE role = 'assistant'")
    assert len(answers) == len(questions)
    for row in answers:
        assert WORDS.startswith(row["text"])
        assert len(row["text"]) >= must_have.get(row["id"], 0)
        assert row["state"] in {"done", "interrupted"}
        assert (row["text"] == WORDS) or row["state"] == "interrupted"
    assert {row["state"] for row in answers} == {"done", "interrupted"}
    assert any(0 < len(row["text"]) < len(WORDS) for row in answers)
    assert spool.answers() == []
    store.close()


def recovery_run() -> list[str]:
    """What a program does when it opens: take in what is there."""
    store = Store()
    try:
        return recovery.take_in_all(store)
    finally:
        store.close()
