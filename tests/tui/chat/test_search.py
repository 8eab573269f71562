"""Search in everything said and thought: any script, all words, and never an error for what somebody types."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.base import Partial
from backends.events import Done, Reasoning, Text
from backends.host.wire import Record
from tui.chat.answer import fold
from tui.chat.searching import search, search_text
from tui.chat.searching.search import Hit
from tui.chat.storing import shelf, tree, upkeep
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoredMessage, new_id

ASKED = Asked("starter", "echo", "model")


def turn(store: Store, text: str, said: str = "", thought: str = "", chat: str | None = None) -> StoredMessage:
    row = store.begin(new_id(), ASKED, text, chat)
    finish(store, row.id, said, thought)
    return row


def finish(store: Store, answer: str, said: str, thought: str = "") -> None:
    events = (Reasoning(thought), Text(said), Done("stop"))
    assert store.finish(answer, fold([Record("a", number, 1.0, event) for number, event in enumerate(events)]))


class Said:
    """A store in which each text is said once, in a chat of its own."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self._rows: dict[str, StoredMessage] = {}

    def once(self, text: str) -> StoredMessage:
        if text not in self._rows:
            self._rows[text] = turn(self.store, text)
        return self._rows[text]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Said]:
    made = Said(tmp_path_factory.mktemp("said") / "chats.sqlite3")
    yield made
    made.store.close()


def marked(hit: Hit) -> list[str]:
    return [hit.snippet[low:high] for low, high in hit.marks]


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [
        ("Why is decode memory-bound?", "memory", ["memory"]),
        ("Why is decode memory-bound?", "MEM", ["mem"]),
        ("Why is decode memory-bound?", "memory-bound", ["memory-bound"]),
        ("Why is decode memory-bound?", '"decode memory"', ["decode memory"]),
        ("Why is decode memory-bound?", "bound why", ["Why", "bound"]),
        ("Why is decode memory-bound?", '"memory', ["memory"]),
        ("Why is decode memory-bound?", "“memory bound”", ["memory-bound"]),
        ("an élan, a Straße, ΛΟΓΟΣ, Ёлка", "elan", ["élan"]),
        ("an élan, a Straße, ΛΟΓΟΣ, Ёлка", "straß", ["Straß"]),
        ("an élan, a Straße, ΛΟΓΟΣ, Ёлка", "λογ", ["ΛΟΓ"]),
        ("an élan, a Straße, ΛΟΓΟΣ, Ёлка", "ёлка", ["Ёлка"]),
        ("GPU显存不够，模型太大", "显", ["显"]),
        ("GPU显存不够，模型太大", "显存", ["显存"]),
        ("GPU显存不够，模型太大", "gpu显存", ["GPU显存"]),
        ("GPU显存不够，模型太大", "太大 显存", ["显存", "太大"]),
        ("東京タワーに行きたい", "タワー", ["タワー"]),
        ("東京タワーに行きたい", "京", ["京"]),
        ("한국어 모델은 빠르다", "모델", ["모델"]),
        ("한국어 모델은 빠르다", "은", ["은"]),
        ("ภาษาไทย", "ไทย", ["ไทย"]),
        ("very rare 𠮷野家 and 🤔", "𠮷", ["𠮷"]),
        ("very rare 𠮷野家 and 🤔", "🤔", ["🤔"]),
        ("tests ✅❤️ done ⏰", "✅", ["✅"]),
        ("tests ✅❤️ done ⏰", "❤️ don", ["❤", "don"]),
        ("tests ✅❤️ done ⏰", '"done ⏰"', ["done ⏰"]),
        ("a row: 🎉 🎉🎉, at last", '"🎉🎉🎉 at"', ["🎉 🎉🎉, at"]),
        ("snake_case and c++ 3.14", "case", ["case"]),
        ("snake_case and c++ 3.14", "3.14", ["3.14"]),
        ("one a two", "a", ["a"]),
        ("nul\x00byte", "byte", ["byte"]),
    ],
)
def test_what_was_said_is_found_and_marked(said: Said, text: str, wanted: str, found: list[str]) -> None:
    row = said.once(text)
    hits = search.search(said.store, wanted, chat=row.conversation)
    assert [(hit.message, hit.where) for hit in hits] == [(row.parent, "text")]
    assert marked(hits[0]) == found
    assert row.parent in [hit.message for hit in search.search(said.store, wanted)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Why is decode memory-bound?", "emory"),
        ("Why is decode memory-bound?", '"memory decode"'),
        ("Why is decode memory-bound?", '"memor"'),
        ("Why is decode memory-bound?", "why not"),
        ("显存模型", "存显"),
        ("显存模型", '"显模"'),
        ("alpha beta", "alpha NOT beta"),
        ("alpha beta", "alpha OR gamma"),
        ("alpha beta", "a"),
        ("alpha beta", "?! …"),
        ("alpha beta", ""),
        ("alpha beta", '""'),
    ],
)
def test_what_was_not_said_is_not_found(said: Said, text: str, wanted: str) -> None:
    assert search.search(said.store, wanted, chat=said.once(text).conversation) == []


def test_thoughts_are_found_and_words_of_both_count_together() -> None:
    store = Store()
    row = turn(store, "q", "the answer speaks of bandwidth", "first I think of latency and bandwidth")
    assert [hit.where for hit in search.search(store, "latency")] == ["reasoning"]
    assert [hit.where for hit in search.search(store, "bandwidth")] == ["text"]
    assert [hit.where for hit in search.search(store, "latency bandwidth")] == ["reasoning"]
    both = search.search(store, "latency speaks")
    assert [(hit.message, hit.role) for hit in both] == [(row.id, "assistant")]
    assert search.search(store, row.conversation) == [], "the index holds ids, but nobody said one"
    store.close()


def test_the_newest_comes_first_and_the_search_goes_on_where_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    now = time.time()
    for number in (3, 1, 4, 0, 2):
        monkeypatch.setattr(time, "time", lambda number=number: now + number)
        turn(store, f"word {number}")
    snippets = ["word 4", "word 3", "word 2", "word 1", "word 0"]
    assert [hit.snippet for hit in search.search(store, "word")] == snippets
    first = search.search(store, "word", 2)
    rest = search.search(store, "word", 10, before=first[-1].place)
    assert [hit.snippet for hit in [*first, *rest]] == snippets
    store.close()


def test_many_messages_of_one_moment_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    chat = None
    for number in range(12):
        chat = turn(store, f"word {number}", chat=chat).conversation
    assert [hit.snippet for hit in search.search(store, "word")] == [f"word {number}" for number in range(11, -1, -1)]
    store.close()


@pytest.mark.parametrize("at", [-5.0, 0.0, 1e300, float("inf")])
def test_a_time_that_cannot_be_is_no_obstacle(at: float, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    monkeypatch.setattr(time, "time", lambda: at)
    turn(store, "word")
    assert len(search.search(store, "word")) == 1
    store.close()


def test_one_chat_alone_can_be_searched() -> None:
    store = Store()
    chat = turn(store, "word here").conversation
    turn(store, "word there")
    assert [hit.snippet for hit in search.search(store, "word", chat=chat)] == ["word here"]
    assert search.search(store, "there", chat=chat) == []
    assert search.search(store, "word", chat='x" OR chat:"') == []
    store.close()


@pytest.mark.parametrize(("chat", "other"), [("Ab", "aB"), ("a-b", "x_a-b-c"), ("-", "_")])
def test_ids_of_another_machine_that_look_alike_are_kept_apart(chat: str, other: str) -> None:
    store = Store()
    for name in (chat, other):
        with store.transaction() as db:
            db.execute("INSERT INTO conversation (id, title, created_at, updated_at) VALUES (?, 't', 1, 1)", (name,))
        turn(store, f"word in {name}", chat=name)
    assert [hit.conversation for hit in search.search(store, "word", chat=chat)] == [chat]
    assert len(search.search(store, "word")) == 2
    store.close()


def test_titles_that_somebody_gave_come_first() -> None:
    store = Store()
    chat = turn(store, "what is a cache").conversation
    shelf.rename(store, chat, "Everything about Köln")
    turn(store, "nothing about koln")
    found = search.search(store, "koln about")
    assert [(hit.where, hit.snippet) for hit in found] == [
        ("title", "Everything about Köln"),
        ("text", "nothing about koln"),
    ]
    assert marked(found[0]) == ["about", "Köln"]
    assert (found[0].message, found[0].role, found[0].place) == (store.conversation(chat).head, None, None)
    assert [hit.where for hit in search.search(store, "koln", before=2**53)] == ["text"], "they are on the first page"
    store.close()


def test_a_hit_on_another_branch_can_be_shown() -> None:
    store = Store()
    first = turn(store, "q", "only here")
    question = store.branch(first.conversation)[0]
    finish(store, store.begin_again(new_id(), ASKED, question, None).id, "other")
    (hit,) = search.search(store, "only here")
    assert hit.message == first.id
    tree.show(store, hit.conversation, hit.message or "")
    assert [message.text for message in store.branch(hit.conversation)] == ["q", "only here"]
    tree.throw_away_message(store, first.id)
    assert search.search(store, "only here") == []
    store.close()


def test_an_answer_is_found_once_it_is_finished_and_whole_then() -> None:
    store = Store()
    first = turn(store, "q", "begins")
    question = store.branch(first.conversation)[0]
    row = store.begin_again(new_id(), ASKED, question, Partial("", "begins"))
    assert [hit.message for hit in search.search(store, "begins")] == [first.id]
    finish(store, row.id, "begins and ends")
    assert {hit.message for hit in search.search(store, "begins")} == {first.id, row.id}
    assert [hit.message for hit in search.search(store, "ends")] == [row.id]
    store.close()


def test_a_snippet_is_one_harmless_line_around_what_was_found() -> None:
    store = Store()
    turn(store, "x " * 500 + "before\r\n\x1b[31mthe needle\u202e\tafter " + "y " * 500)
    (hit,) = search.search(store, "needle")
    assert marked(hit) == ["needle"]
    assert hit.snippet.startswith("…")
    assert hit.snippet.endswith("…")
    assert len(hit.snippet) <= search_text.SNIPPET_CHARACTERS + 2
    assert "before ␛[31mthe needle⟨U+202E⟩ after" in hit.snippet
    store.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "chats.sqlite3"
    store = Store(path)
    turn(store, "alpha beta 模型 gamma", "delta", "epsilon")
    store.close()
    return path


@settings(max_examples=200, deadline=None)
@given(st.text() | st.text(alphabet="\"*():^-+{}'\\ \x00ANDORTNEAR模型ab,.") | st.text(alphabet='"a ', min_size=50))
def test_whatever_is_typed_is_no_error(filled: Path, wanted: str) -> None:
    store = Store(filled)
    for hit in search.search(store, wanted):
        assert all(0 <= low < high <= len(hit.snippet) for low, high in hit.marks)
    store.close()


@pytest.mark.parametrize(
    "wanted", ["half \udcff", "\ud800", "word " * 5000, "x" * 200_000, '"' * 9999, "( " * 3000, "模" * 3000]
)
def test_very_much_typed_is_no_error(filled: Path, wanted: str) -> None:
    store = Store(filled)
    assert search.search(store, wanted) == []
    store.close()


@pytest.mark.parametrize("token", ["🎉", "ั", "々"])
def test_a_long_row_of_one_sign_is_searched_at_once(said: Said, token: str) -> None:
    row = said.once(f"{token * 300} and {token * 9} here")
    began = time.perf_counter()
    (hit,) = search.search(said.store, f'"{token * 9} here"', chat=row.conversation)
    assert time.perf_counter() - began < 5, "each pair more took a hundred times as long"
    assert marked(hit)[0].endswith("here")


ALPHABET = "ab é ß 模型 モデル 모델 ไท 🤔𠮷 -_. \n\"'Ω1 ẞ"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(alphabet=ALPHABET, max_size=40), min_size=2, max_size=5))
def test_every_word_that_was_said_is_found_again(home: Path, texts: list[str]) -> None:
    store = Store()
    for text in texts:
        turn(store, text)
    for text in texts:
        for word in text.replace('"', " ").split():
            if search_text.terms(word):
                found = search.search(store, f'"{word}"', 100)
                assert any(
                    re.sub(r"\s+", " ", text).strip() == re.sub(r"\s+", " ", hit.snippet).strip() for hit in found
                )
    store.delete(store.conversations()[0].id)
    assert upkeep.check(store.path).sound
    store.close()
