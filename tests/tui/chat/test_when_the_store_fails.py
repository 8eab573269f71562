"""Disks that fill up, files that go away, clocks that go back: what is said is kept, and what is not is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import paths
from backends.events import Done, Text
from backends.host import launch, spool
from backends.host.wire import Record, encode
from tui.chat import recovery, turn
from tui.chat import running as module
from tui.chat.answer import Answer, fold
from tui.chat.session import Session
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoreError

ASKED = Asked("p", "echo", "m")
COUNT = " ".join(str(number) for number in range(60))


def texts(session: Session) -> list[str]:
    return [message.text for message in session.branch]


def said(text: str) -> Answer:
    return fold([Record("a1", 0, 0.0, Text(text)), Record("a1", 1, 0.1, Done("stop"))])


def chats() -> dict[str, list[str]]:
    """What somebody finds who starts now: the texts of each chat, by its title."""
    store = Store()
    try:
        assert recovery.take_in_all(store) == []
        return {chat.title: [row.text for row in store.branch(chat.id)] for chat in store.conversations()}
    finally:
        store.close()


# The file is another one, or none.


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_a_database_that_goes_while_it_is_open_is_neither_written_nor_read(replaced: bool) -> None:
    store = Store()
    store.begin("a1", ASKED, "one")
    path = paths.database()
    kept = path.with_name("kept")
    path.rename(kept)
    if replaced:
        Store().close()
    before = kept.read_bytes()
    for use in (
        lambda: store.begin("a2", ASKED, "two"),
        lambda: store.finish("a1", said("yes")),
        store.conversations,
        store.changes,
    ):
        with pytest.raises(StoreError, match="deleted or replaced") as raised:
            use()
        assert str(path) in raised.value.detail
    assert kept.read_bytes() == before
    assert not path.with_name(f"{path.name}-journal").exists()
    kept.replace(path)
    assert store.finish("a1", said("yes"))  # It was put back.
    store.close()


def test_a_database_that_goes_in_the_middle_of_a_transaction_takes_nothing() -> None:
    store = Store()
    store.begin("a1", ASKED, "one")
    path = paths.database()

    def commit_late() -> None:
        with store.transaction() as db:
            db.execute("UPDATE conversation SET title = 'changed'")
            path.rename(path.with_name("kept"))

    with pytest.raises(StoreError, match="deleted or replaced"):
        commit_late()
    path.with_name("kept").replace(path)
    assert store.conversations()[0].title == "one"
    store.close()


async def test_an_answer_whose_database_goes_is_told_unsaved_and_saved_once_it_is_put_back(
    screens: Any, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_AGAIN_S", 0.1)
    screen = screens(target(text="a b c d", tokens_per_second=20.0))
    await screen.session.send("q")
    await screen.until(lambda session: session.answer.text)
    path = paths.database()
    path.rename(path.with_name("kept"))
    await screen.until(lambda session: session.unsaved)
    assert "is not the file that was opened" in screen.session.unsaved
    assert screen.session.answer.text == "a b c d"
    path.with_name("kept").replace(path)
    await screen.until(lambda session: not session.busy)
    assert (texts(screen.session), screen.session.unsaved) == (["q", "a b c d"], "")
    assert chats() == {"q": ["q", "a b c d"]}


async def test_an_answer_whose_database_does_not_come_back_is_found_again_in_a_chat_of_its_own(
    screens: Any, target: Any
) -> None:
    screen = screens(target(text="a b c d", tokens_per_second=20.0))
    await screen.session.send("q")
    await screen.until(lambda session: session.answer.text)
    paths.database().unlink()
    await screen.until(lambda session: session.unsaved)
    with pytest.raises(StoreError, match="deleted or replaced"):
        await asyncio.to_thread(turn.finish, screen.store, screen.session.answering.id, screen.session.answer)
    await screen.session.leave()
    found = {"Found again: a b c d": [recovery.LOST_QUESTION, "a b c d"]}
    assert chats() == found
    assert chats() == found
    assert spool.answers() == []


async def test_an_answer_that_was_found_again_can_be_gone_on_with(screens: Any, target: Any) -> None:
    descriptor = spool.create("a1")
    os.write(descriptor, encode(Record("a1", 0, 0.0, Text("a b"))))
    os.close(descriptor)
    assert list(chats()) == ["Found again: a b"]
    screen = screens(target(text="a b c d"))
    await screen.session.open(screen.store.conversations()[0].id)
    assert screen.session.branch[-1].state == "interrupted"
    await screen.session.resume()
    await screen.until(lambda session: not session.busy)
    assert texts(screen.session) == [recovery.LOST_QUESTION, "a b c d"]
    await screen.ask("and then?")
    assert texts(screen.session)[-1] == "a b c d"


def test_an_end_for_a_chat_that_is_gone_is_refused_and_the_answer_kept() -> None:
    os.close(spool.create("a1"))
    store = Store()
    with pytest.raises(StoreError, match="is gone"):
        turn.finish(store, "a1", said("yes"))
    assert spool.answers() == ["a1"]
    store.close()


# The disk.


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A home on a file system of a megabyte."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(home)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=True)


async def test_a_disk_that_is_full_while_an_answer_streams_loses_and_doubles_nothing(
    small_disk: Path, screens: Any, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_AGAIN_S", 0.1)
    screen = screens(target(text=COUNT * 20, tokens_per_second=400.0))
    await screen.session.send("q")
    await screen.until(lambda session: session.answer.text)
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    await screen.until(lambda session: session.unsaved)
    assert screen.session.unsaved == "No space left on device"
    await screen.until(lambda session: session.answer.finished)
    assert screen.session.answer.text == COUNT * 20
    await asyncio.sleep(0.5)
    assert (screen.session.busy, bool(screen.session.unsaved)) == (True, True)
    filler.unlink()
    await screen.until(lambda session: not session.busy)
    assert (texts(screen.session), screen.session.unsaved) == (["q", COUNT * 20], "")
    assert chats() == {"q": ["q", COUNT * 20]}


async def test_an_answer_that_ends_on_a_full_disk_with_nobody_there_is_had_from_its_host(
    screens: Any, target: Any
) -> None:
    """The spool holds only the beginning, and whoever asked has left: the host still has all of it."""
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs prlimit")
    first = screens(target(text=COUNT, tokens_per_second=60.0))
    await first.until(lambda session: session.host_pid and not session.loading)
    host = first.session.host_pid
    resource.prlimit(host, resource.RLIMIT_FSIZE, (900, resource.RLIM_INFINITY))
    await first.session.send("q")
    await first.until(lambda session: session.unsaved)
    answer, chat = first.session.answering.id, first.session.conversation.id
    await first.session.leave()
    deadline = time.monotonic() + 10
    while not any(view.status and view.status.unsaved == (answer,) for view in await launch.survey()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert len(fold(spool.read(answer)).text) < len(COUNT)
    second = screens()
    await second.session.open(chat)
    await second.until(lambda session: not session.busy)
    assert texts(second.session) == ["q", COUNT]
    assert second.session.branch[-1].state == "done"
    os.kill(host, signal.SIGKILL)
    assert chats() == {"q": ["q", COUNT]}


async def test_room_that_comes_after_the_end_is_used_with_nobody_there(screens: Any, target: Any) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs prlimit")
    first = screens(target(text=COUNT, tokens_per_second=80.0))
    await first.until(lambda session: session.host_pid and not session.loading)
    host = first.session.host_pid
    resource.prlimit(host, resource.RLIMIT_FSIZE, (900, resource.RLIM_INFINITY))
    await first.session.send("q")
    await first.until(lambda session: session.unsaved)
    answer = first.session.answering.id
    await first.session.leave()
    deadline = time.monotonic() + 10
    while not any(view.status and view.status.unsaved for view in await launch.survey()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    resource.prlimit(host, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    while spool.running(answer):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    os.kill(host, signal.SIGKILL)
    assert chats() == {"q": ["q", COUNT]}


def test_a_page_that_is_damaged_is_told_and_the_answer_kept_in_its_spool() -> None:
    store = Store()
    for number in range(40):
        store.begin(f"old{number}", ASKED, f"question {number} " + "x" * 2000)
        store.finish(f"old{number}", said("y" * 2000))
    descriptor = spool.create("a1")
    store.begin("a1", ASKED, "q")
    os.write(descriptor, encode(Record("a1", 0, 0.0, Text("all of it"))))
    os.close(descriptor)
    store.close()
    path = paths.database()
    with sqlite3.connect(path) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'message_streaming'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    db.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    store = Store()
    with pytest.raises(StoreError, match="cannot be used") as raised:
        recovery.take_in_all(store)
    assert "malformed" in raised.value.detail
    with pytest.raises(StoreError, match="cannot be used"):
        recovery.take_in(store, "a1")
    store.close()
    assert fold(spool.read("a1")).text == "all of it"


def test_a_locked_database_at_the_start_loses_nothing_that_waits_to_be_taken_in() -> None:
    store = Store(busy_s=0.05)
    descriptor = spool.create("a1")
    store.begin("a1", ASKED, "q")
    os.write(descriptor, encode(Record("a1", 0, 0.0, Text("all of it"))))
    os.close(descriptor)
    other = sqlite3.connect(paths.database(), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked") as raised:
        recovery.take_in_all(store)
    assert "locked" in raised.value.detail
    other.execute("ROLLBACK")
    other.close()
    store.close()
    assert chats() == {"q": ["q", "all of it"]}


# The clock.


def test_a_clock_that_is_set_back_turns_nothing_round(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [2_000_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    store = Store()
    first = store.begin("a1", ASKED, "one")
    now[0] -= 3600
    store.finish("a1", said("first"))
    store.begin("a2", ASKED, "two", first.conversation)
    now[0] -= 3600
    store.finish("a2", said("second"))
    rows = store.branch(first.conversation)
    assert [row.text for row in rows] == ["one", "first", "two", "second"]
    assert all(row.finished_at is None or row.finished_at >= row.created_at for row in rows)
    receipts = store.receipts_of(first.conversation)
    assert all(receipt.at <= 2_000_000_000.0 for receipt in receipts)
    store.close()


def test_an_answer_left_behind_before_the_clock_was_set_back_ends_no_earlier_than_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, real = Store(), time.time
    monkeypatch.setattr(time, "time", lambda: 3_000_000_000.0)
    descriptor = spool.create("a1")
    store.begin("a1", ASKED, "q")
    monkeypatch.setattr(time, "time", real)
    os.write(descriptor, encode(Record("a1", 0, 0.0, Text("a"))))
    os.close(descriptor)
    assert recovery.take_in_all(store) == []
    row = store.message("a1")
    assert row is not None
    assert (row.state, row.text) == ("interrupted", "a")
    assert row.finished_at is not None
    assert row.finished_at >= row.created_at
    store.close()
