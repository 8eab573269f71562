"""The index of every word: behind, broken or cut short, it costs nobody a message, and is made whole again."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time

from tests.tui.chat.kept_chats import turn
from tui.chat.searching import indexing, search
from tui.chat.storing import upkeep
from tui.chat.storing.store import Store


def test_what_is_not_indexed_yet_is_caught_up_from_the_newest_on_while_others_write() -> None:
    store = Store()
    for number in range(8):
        turn(store, f"word {number}", said="said " * 14_000)
    with store.transaction() as db:
        indexing.make_anew(db)
    assert not search.complete(store)
    assert "word 7" in [hit.snippet for hit in search.search(store, "word")], "one step is made by searching"
    assert not search.complete(store)
    other = Store()
    writer = threading.Thread(target=turn, args=(other, "word meanwhile"))
    writer.start()
    assert search.catch_up(store, 30)
    writer.join()
    assert search.complete(store)
    assert len(search.search(store, "word", 100)) == 9
    assert not search.search(store, "nothing")
    assert upkeep.check(store.path).sound
    other.close()
    store.close()


def test_catching_up_keeps_to_its_time_and_goes_on_later() -> None:
    store = Store()
    for number in range(5):
        turn(store, f"word {number}", said="said " * 25_000)
    with store.transaction() as db:
        indexing.make_anew(db)
    rounds = 0
    while not search.catch_up(store, 0):
        rounds += 1
    assert 1 <= rounds <= 10
    assert len(search.search(store, "word")) == 5
    store.close()


def test_a_broken_index_costs_no_answer_and_is_made_anew() -> None:
    store = Store()
    turn(store, "word before")
    with store.transaction() as db:
        db.execute("UPDATE said_data SET block = zeroblob(20)")
    store.close()
    store = Store()
    row = turn(store, "word after", said="said")
    assert [message.text for message in store.branch(row.conversation)] == ["word after", "said"]
    assert search.catch_up(store, 10)
    assert len(search.search(store, "word")) == 2
    with store.transaction() as db:
        db.execute("UPDATE said_data SET block = zeroblob(20)")
    store.close()
    store = Store()
    store.delete(row.conversation)
    assert search.catch_up(store, 10)
    assert [hit.snippet for hit in search.search(store, "word")] == ["word before"]
    assert upkeep.check(store.path).sound
    store.close()


def test_a_search_in_a_damaged_index_finds_all_the_same() -> None:
    store = Store()
    turn(store, "word before")
    with store.transaction() as db:
        db.execute("DELETE FROM said_data WHERE id > 100")
    store.close()
    store = Store()
    assert [hit.snippet for hit in search.search(store, "word")] == ["word before"]
    assert upkeep.check(store.path).sound
    store.close()


WRITER = """
import sys
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id
from tui.chat.answer import fold
from backends.host.wire import Record
from backends.events import Done, Text
store = Store()
print("ready", flush=True)
chats = []
while True:
    row = store.begin(new_id(), Asked("p", "b", "m"), "word asked " + "and more " * 300)
    store.finish(row.id, fold([Record("a", 0, 0.0, Text("word said " * 300)), Record("a", 1, 0.0, Done("stop"))]))
    chats.append(row.conversation)
    if len(chats) > 4:
        store.delete(chats.pop(0))
"""


def test_a_kill_never_leaves_the_index_apart_from_what_was_said() -> None:
    for number in range(6):
        child = subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(0.05 + number * 0.037)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        store = Store()
        report = upkeep.check(store.path)
        assert [finding for finding in report.findings if finding.kind != "spool"] == []
        said = store.rows("SELECT count(*) FROM message WHERE state != 'streaming'")[0][0]
        assert len(search.search(store, "word", 10_000)) == said
        store.close()


def test_the_index_can_be_read_by_every_sqlite_that_comes_with_our_pythons() -> None:
    store = Store()
    turn(store, "word")
    store.delete(turn(store, "gone").conversation)
    search.catch_up(store, 10)
    assert store.rows("SELECT v FROM said_config WHERE k = 'version'")[0][0] == 4
    (made,) = store.rows("SELECT sql FROM sqlite_master WHERE name = 'said'")
    assert "contentless_delete" not in made["sql"]
    assert sqlite3.sqlite_version_info >= (3, 37)
    store.close()
