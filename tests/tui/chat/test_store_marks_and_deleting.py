"""What the store keeps beside what was said: from where it is sent to the model; and what is gone once deleted."""

from __future__ import annotations

import pytest

from backends.events import Done, Text
from backends.host.wire import Record
from tui.chat.answer import Answer, fold
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoredMessage, StoreError, new_id

ASKED = Asked("starter", "echo", "model")


def answer(text: str = "answer") -> Answer:
    return fold([Record("a", 0, 1.0, Text(text)), Record("a", 1, 2.0, Done("stop"))])


def turn(store: Store, text: str = "question", conversation: str | None = None) -> StoredMessage:
    row = store.begin(new_id(), ASKED, text, conversation)
    assert store.finish(row.id, answer())
    return row


def test_a_mark_is_committed_together_with_the_answer_that_needs_it() -> None:
    store = Store()
    first = turn(store)
    assert [message.context_start for message in store.branch(first.conversation)] == [None, None]
    question = store.begin("a2", ASKED, "two", first.conversation).parent
    asked = store.message(question or "")
    assert asked is not None
    store.finish("a2", answer())
    store.begin_again("a3", ASKED, asked, None, {asked.id: "They spoke\ud800."})
    store.finish("a3", answer())
    assert [message.context_start for message in store.branch(first.conversation)][2:] == ["They spoke\ufffd.", None]
    with pytest.raises(StoreError):  # The id is taken: neither is written.
        store.begin_again("a3", ASKED, asked, None, {asked.id: None})
    assert store.branch(first.conversation)[2].context_start == "They spoke\ufffd."
    store.begin_again("a4", ASKED, asked, None, {asked.id: None})
    assert store.branch(first.conversation)[2].context_start is None
    store.close()


def test_a_deleted_conversation_is_gone_with_all_its_branches_and_nothing_else() -> None:
    store = Store()
    kept, gone = turn(store, "kept"), turn(store, "gone")
    question = store.message(gone.parent or "")
    assert question is not None
    store.finish(store.begin_again("again", ASKED, question, None).id, answer())
    turn(store, "more", gone.conversation)
    ids = [row["id"] for row in store.rows("SELECT id FROM message WHERE conversation = ?", gone.conversation)]
    assert sorted(store.delete(gone.conversation)) == sorted(ids)
    assert len(ids) == 5
    assert [conversation.id for conversation in store.conversations()] == [kept.conversation]
    assert len(store.rows("SELECT id FROM message")) == 2
    assert store.rows("PRAGMA foreign_key_check") == []
    with pytest.raises(StoreError, match="no such chat"):
        store.delete(gone.conversation)
    store.close()


def test_a_conversation_whose_answer_is_being_written_is_not_deleted() -> None:
    store = Store()
    row = store.begin(new_id(), ASKED, "question")
    with pytest.raises(StoreError, match="still being written"):
        store.delete(row.conversation)
    assert len(store.branch(row.conversation)) == 2
    store.close()
