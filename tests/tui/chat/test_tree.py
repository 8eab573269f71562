"""The tree of a conversation: nothing overwritten, every version found again, deleting undone."""

from __future__ import annotations

import time

import pytest

from backends.events import Done, Text
from backends.host.wire import Record
from tests.tui.chat.kept_chats import beside
from tui.chat.answer import fold
from tui.chat.storing import shelf, tree
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoredMessage, StoreError, new_id

ASKED = Asked("starter", "echo", "model")


def finish(store: Store, answer: str, text: str) -> None:
    assert store.finish(answer, fold([Record("a", 0, 1.0, Text(text)), Record("a", 1, 2.0, Done("stop"))]))


def turn(store: Store, text: str, said: str, chat: str | None = None) -> StoredMessage:
    row = store.begin(new_id(), ASKED, text, chat)
    finish(store, row.id, said)
    return row


def edit(store: Store, question: StoredMessage, text: str, said: str) -> StoredMessage:
    row = tree.begin_edit(store, new_id(), ASKED, question, text)
    finish(store, row.id, said)
    return row


def again(store: Store, question: StoredMessage, said: str) -> StoredMessage:
    row = store.begin_again(new_id(), ASKED, question, None)
    finish(store, row.id, said)
    return row


def texts(store: Store, chat: str) -> list[str]:
    return [message.text for message in store.branch(chat)]


def test_an_edited_question_stands_beside_the_old_one_with_an_answer_of_its_own() -> None:
    store = Store()
    chat = turn(store, "one", "1").conversation
    turn(store, "two", "2", chat)
    question = store.branch(chat)[2]
    edit(store, question, "zwei\ud800", "II")
    assert texts(store, chat) == ["one", "1", "zwei\ufffd", "II"]
    edited = store.branch(chat)[2]
    assert beside(store, edited.id) == beside(store, question.id) == [question.id, edited.id]
    assert tree.versions(store, store.branch(chat)) == {edited.id: (2, 2)}
    assert tree.walk(store, chat, edited.id, -1) == store.branch(chat)[-1].id
    assert texts(store, chat) == ["one", "1", "two", "2"]
    assert tree.versions(store, store.branch(chat)) == {question.id: (1, 2)}
    store.close()


def test_the_first_question_too_can_be_edited() -> None:
    store = Store()
    chat = turn(store, "one", "1").conversation
    first = store.branch(chat)[0]
    edit(store, first, "uno", "I")
    assert texts(store, chat) == ["uno", "I"]
    assert store.branch(chat)[0].parent is None
    assert beside(store, first.id) == [first.id, store.branch(chat)[0].id]
    assert turn(store, "another chat", "2").conversation != chat
    assert beside(store, first.id) == [first.id, store.branch(chat)[0].id], "beginnings of other chats are none"
    store.close()


def test_walking_leads_to_the_newest_end_below_and_stays_at_the_borders() -> None:
    store = Store()
    chat = turn(store, "q", "first").conversation
    question = store.branch(chat)[0]
    turn(store, "more", "deep", chat)
    left = store.branch(chat)[1]
    middle, last = again(store, question, "second"), again(store, question, "third")
    assert tree.versions(store, store.branch(chat)) == {last.id: (3, 3)}
    assert tree.walk(store, chat, last.id, 1) == last.id
    assert tree.walk(store, chat, last.id, -1) == middle.id
    tree.walk(store, chat, middle.id, -1)
    assert texts(store, chat) == ["q", "first", "more", "deep"]
    assert tree.walk(store, chat, left.id, -5) == store.branch(chat)[-1].id
    tree.walk(store, chat, left.id, 9)
    assert texts(store, chat) == ["q", "third"]
    with pytest.raises(StoreError, match="deleted"):
        tree.walk(store, chat, "nothing", 1)
    store.close()


def test_versions_keep_their_order_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    chat = turn(store, "q", "first").conversation
    question = store.branch(chat)[0]
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    second = again(store, question, "second")
    assert tree.versions(store, store.branch(chat)) == {second.id: (2, 2)}
    turn(store, "more", "2", chat)
    monkeypatch.undo()
    third = again(store, question, "third")
    assert tree.walk(store, chat, third.id, -1) == store.branch(chat)[-1].id
    assert texts(store, chat) == ["q", "second", "more", "2"]
    store.close()


def test_showing_a_message_moves_to_its_branch_and_not_away_from_it() -> None:
    store = Store()
    first = turn(store, "q", "first")
    chat, question = first.conversation, store.branch(first.conversation)[0]
    again(store, question, "second")
    assert tree.show(store, chat, question.id) == store.conversation(chat).head, "it is on the branch that is shown"
    assert texts(store, chat) == ["q", "second"]
    assert tree.show(store, chat, first.id) == first.id
    assert texts(store, chat) == ["q", "first"]
    other = turn(store, "x", "y")
    with pytest.raises(StoreError, match="deleted"):
        tree.show(store, chat, other.id)
    assert texts(store, chat) == ["q", "first"]
    store.close()


def test_a_message_thrown_away_is_out_of_sight_with_all_below_it_and_comes_back_as_it_was() -> None:
    store = Store()
    chat = turn(store, "q", "first").conversation
    question = store.branch(chat)[0]
    second = again(store, question, "second")
    turn(store, "more", "deep", chat)
    deep = store.branch(chat)[-1]
    tree.throw_away_message(store, deep.id)
    assert texts(store, chat) == ["q", "second", "more"], "nothing beside it is left, so what it answers is the end"
    head = tree.throw_away_message(store, second.id)
    assert texts(store, chat) == ["q", "first"]
    assert tree.versions(store, store.branch(chat)) == {}
    with pytest.raises(StoreError, match="deleted"):
        tree.throw_away_message(store, second.id)
    assert tree.take_back_message(store, second.id, head) == head
    assert texts(store, chat) == ["q", "second", "more"], "what was thrown away before stays so"
    tree.take_back_message(store, deep.id)
    assert texts(store, chat) == ["q", "second", "more", "deep"]
    store.close()


def test_a_branch_that_is_not_shown_is_thrown_away_without_moving() -> None:
    store = Store()
    first = turn(store, "q", "first")
    again(store, store.branch(first.conversation)[0], "second")
    tree.throw_away_message(store, first.id)
    assert texts(store, first.conversation) == ["q", "second"]
    store.close()


def test_a_chat_whose_beginning_is_thrown_away_is_empty_and_can_begin_again() -> None:
    store = Store()
    chat = turn(store, "q", "a").conversation
    question = store.branch(chat)[0]
    head = tree.throw_away_message(store, question.id)
    assert store.branch(chat) == []
    assert store.branch_length(chat) == 0
    assert store.conversation(chat).head is None
    turn(store, "new", "b", chat)
    assert texts(store, chat) == ["new", "b"]
    assert tree.take_back_message(store, question.id, head) == head
    assert texts(store, chat) == ["q", "a"]
    store.close()


def test_what_hangs_below_something_deleted_comes_back_after_it() -> None:
    store = Store()
    first = turn(store, "q", "a")
    tree.throw_away_message(store, first.id)
    tree.throw_away_message(store, first.parent or "")
    with pytest.raises(StoreError, match="too"):
        tree.take_back_message(store, first.id)
    tree.take_back_message(store, first.parent or "")
    tree.take_back_message(store, first.id)
    assert texts(store, first.conversation) == ["q", "a"]
    store.close()


def test_nothing_is_asked_below_what_was_thrown_away() -> None:
    store = Store()
    chat = turn(store, "q", "a").conversation
    question = store.branch(chat)[0]
    tree.throw_away_message(store, question.id)
    with pytest.raises(StoreError, match="message was deleted"):
        store.begin_again(new_id(), ASKED, question, None)
    with pytest.raises(StoreError, match="message was deleted"):
        tree.begin_edit(store, new_id(), ASKED, question, "other")
    tree.take_back_message(store, question.id)
    shelf.throw_away(store, chat)
    for ask in (
        lambda: store.begin(new_id(), ASKED, "more", chat),
        lambda: store.begin_again(new_id(), ASKED, question, None),
        lambda: tree.begin_edit(store, new_id(), ASKED, question, "other"),
    ):
        with pytest.raises(StoreError, match="chat was deleted"):
            ask()
    assert len(store.rows("SELECT 1 FROM message")) == 2
    store.close()


def test_a_message_whose_answer_is_being_written_stays() -> None:
    store = Store()
    row = store.begin(new_id(), ASKED, "q")
    with pytest.raises(StoreError, match="still being written"):
        tree.throw_away_message(store, row.parent or "")
    finish(store, row.id, "a")
    tree.throw_away_message(store, row.parent or "")
    store.close()
