"""What was asked before: kept across starts, bounded, one for all screens, and gone with what is deleted."""

from __future__ import annotations

import asyncio
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import Problem
from tui.chat import asked
from tui.chat.asked import Question, Walk
from tui.chat.storing import forgetting, shelf
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id


def ask(store: Store, text: str, chat: str | None = None) -> str:
    return store.begin(new_id(), Asked("p", "b", "m"), text, chat).conversation


def texts(store: Store) -> list[str]:
    return [question.text for question in asked.load(store)]


def test_it_begins_with_what_the_chats_have_and_goes_on_with_what_is_asked() -> None:
    store = Store()
    ask(store, "one")
    ask(store, "two")
    assert texts(store) == ["one", "two"]
    asked.add(Question("three\nlines 你好"))
    asked.add(Question("three\nlines 你好"))
    assert texts(store) == ["one", "two", "three\nlines 你好"]
    ask(store, "by another program")
    assert len(texts(store)) == 3
    assert stat.S_IMODE(asked.file().stat().st_mode) == 0o600
    store.close()


def test_there_are_a_thousand_at_most_and_none_of_a_whole_book() -> None:
    for number in range(asked.MOST // 100):
        asked._change(lambda kept, n=number: [*kept, *(Question(f"{n}.{each}") for each in range(100))])
    kept = asked.add(Question("last"))
    assert (len(kept), kept[-1].text, kept[0].text) == (asked.MOST, "last", "0.1")
    assert asked.add(Question("x" * (asked.LONGEST + 1)))[-1].text == "last"
    for number in range(50):
        asked.add(Question(str(number) + "y" * (asked.LONGEST - 2)))
    assert asked.file().stat().st_size < asked.MOST_BYTES * 1.1


def test_a_line_that_is_none_is_passed_over() -> None:
    asked.add(Question("good"))
    with asked.file().open("ab") as opened:
        opened.write(b'{"text": 5}\n\xff\xfe\nnull\n{"text":"half')
    assert [one.text for one in asked.add(Question("more"))] == ["good", "more"]


def test_many_screens_at_once_lose_nothing() -> None:
    def some(who: int) -> None:
        for number in range(20):
            asked.add(Question(f"{who}-{number}"))

    threads = [threading.Thread(target=some, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store()
    assert len(texts(store)) == 80
    store.close()


def test_what_is_deleted_is_not_recalled_and_leaves_the_disk_with_the_rest() -> None:
    store = Store()
    kept, gone = ask(store, "kept"), ask(store, "secret")
    for row in store.rows("SELECT id, text FROM message WHERE role = 'user'"):
        asked.add(Question(row["text"], {"kept": kept, "secret": gone}[row["text"]], row["id"]))
    for answer in store.streaming():
        store.rows("SELECT 1")
        with store.transaction() as db:
            db.execute("UPDATE message SET state = 'done' WHERE id = ?", (answer,))
    shelf.throw_away(store, gone)
    assert texts(store) == ["kept"]
    assert b"secret" in asked.file().read_bytes()
    shelf.take_back(store, gone)
    assert texts(store) == ["kept", "secret"]
    shelf.throw_away(store, gone)
    asyncio.run(forgetting.empty(store, older_than_s=-1))
    assert b"secret" not in asked.file().read_bytes()
    store.close()


def test_a_single_message_that_is_deleted_for_good_leaves_it_too_and_the_rest_of_its_chat_stays() -> None:
    asked.add(Question("one", "c", "m1"))
    asked.add(Question("two", "c", "m2"))
    asyncio.run(forgetting.forget("c", ["m1"], whole=False))
    assert asked.chats() == {"c"}
    assert b"one" not in asked.file().read_bytes()
    asyncio.run(forgetting.forget("c", ["m2"]))
    assert asked.chats() == set()


def test_a_folder_that_cannot_be_written_is_a_problem_that_says_where(home) -> None:
    home.mkdir(exist_ok=True)
    (home / "state").write_text("in the way")
    with pytest.raises(Problem, match="cannot be kept"):
        asked.add(Question("x"))


def test_a_walk_goes_back_and_on_and_keeps_what_was_typed_and_changed() -> None:
    walk = Walk(["one", "two", "two", " ", "three"], "typed")
    assert walk.to(1, "typed") is None
    assert walk.to(-1, "typed!") == "three"
    assert walk.to(-1, "three, changed") == "two"
    assert walk.to(-1, "two") == "one"
    assert walk.to(-1, "one") is None
    assert walk.to(1, "one") == "two"
    assert walk.to(1, "two") == "three, changed"
    assert walk.to(1, "three, changed") == "typed!"
    assert walk.typed == "typed!"


@given(st.lists(st.text(max_size=3), max_size=6), st.lists(st.sampled_from([-1, 1]), max_size=30))
def test_wherever_a_walk_goes_what_was_typed_is_at_its_end(texts: list[str], steps: list[int]) -> None:
    walk, shown = Walk(texts, "typed"), "typed"
    for step in steps:
        shown = walk.to(step, shown) or shown
    for _ in range(10):
        shown = walk.to(1, shown) or shown
    assert shown == "typed"
