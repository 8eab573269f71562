"""A chat that is exported and imported again is the same chat, whatever is in it; and nothing here is overwritten."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.events import Done, Text, Usage
from backends.host import spool
from backends.host.wire import Record
from tests.tui.chat.chat_files import files
from tests.tui.chat.kept_chats import beside
from tui.chat.answer import fold
from tui.chat.clean import clean
from tui.chat.exporting import export
from tui.chat.exporting.chat_file import ChatFile
from tui.chat.exporting.export import gather
from tui.chat.importing import reading as importing
from tui.chat.importing.incoming import CannotImport, Incoming
from tui.chat.importing.taking_in import Outcome, take_in
from tui.chat.storing import shelf, tree
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoredMessage, new_id

ASKED = Asked("starter", "echo", "model")
TABLES = ("conversation", "message", "receipt")


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two machines, each with its conversations."""
    both = Store(tmp_path / "here" / "chats.sqlite3"), Store(tmp_path / "there" / "chats.sqlite3")
    yield both
    for store in both:
        store.close()


def rows(store: Store, table: str, chat: str) -> list[dict[str, Any]]:
    """All that a table holds of a chat."""
    of = "id" if table == "conversation" else "conversation"
    return [dict(row) for row in store.rows(f"SELECT * FROM {table} WHERE {of} = ? ORDER BY id", chat)]


def read_one(text: str) -> Incoming:
    (one,) = importing.read(text.encode(), "file")
    assert isinstance(one, Incoming), one
    return one


def brought(store: Store, text: str, *, as_new: bool = False) -> list[Outcome]:
    found = list(importing.read(text.encode(), "file"))
    return [take_in(store, one, as_new=as_new) for one in found if isinstance(one, Incoming)]


def turn(store: Store, text: str = "question", conversation: str | None = None) -> StoredMessage:
    row = store.begin(new_id(), ASKED, text, conversation)
    done = Done("stop", usage=Usage(prompt_tokens=5, output_tokens=1))
    assert store.finish(row.id, fold([Record("a", 0, 1.0, Text("answer")), Record("a", 1, 2.0, done)]))
    found = store.message(row.id)
    assert found is not None
    return found


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=files(), whole=st.booleans())
def test_what_is_exported_comes_in_as_it_was(stores: tuple[Store, Store], file: ChatFile, whole: bool) -> None:
    here, there = stores
    assert take_in(here, Incoming(file, "file", own=True)).how == "imported"
    exported = gather(here, file.chat.id)
    written = export.as_json(exported) if whole else export.as_json_line(exported)
    assert clean(written) == written
    assert brought(there, written)[0].how == "imported"
    for table in TABLES:
        assert rows(here, table, file.chat.id) == rows(there, table, file.chat.id)
    assert export.as_json_line(gather(there, file.chat.id)) == export.as_json_line(exported)
    assert brought(there, written)[0].how == "same"


def test_messages_may_stand_in_any_order_and_keep_it_among_brothers(stores: tuple[Store, Store]) -> None:
    store = stores[0]
    first = turn(store)
    question = store.message(first.parent or "")
    assert question is not None
    again = store.begin_again(new_id(), ASKED, question, None)
    store.finish(again.id, fold([]))
    exported = gather(store, first.conversation)
    turned = msgspec.structs.replace(exported, messages=tuple(reversed(exported.messages)))
    assert brought(stores[1], export.as_json(turned))[0].how == "imported"
    assert beside(stores[1], first.id) == [again.id, first.id]
    assert brought(stores[1], export.as_json(exported))[0].how == "same"


def test_many_chats_are_one_stream_of_json(stores: tuple[Store, Store]) -> None:
    here, there = stores
    chats = [turn(here, f"question {number}").conversation for number in range(3)]
    one = "".join(export.as_json_stream(gather(here, chat) for chat in chats))
    assert [outcome.how for outcome in brought(there, one)] == ["imported"] * 3
    lines = "".join(export.as_json_line(gather(here, chat)) for chat in chats)
    assert [outcome.how for outcome in brought(there, lines)] == ["same"] * 3
    assert list(importing.read(b"".join(s.encode() for s in export.as_json_stream([])), "file")) == []


def test_nothing_here_is_overwritten_and_what_differs_is_told(stores: tuple[Store, Store]) -> None:
    here, there = stores
    chat = turn(here).conversation
    old = export.as_json(gather(here, chat))
    turn(here, "more", chat)
    shelf.rename(here, chat, "another")
    new = export.as_json(gather(here, chat))
    brought(there, old)
    before = [rows(there, table, chat) for table in TABLES]
    (told,) = brought(there, new)
    assert (told.how, told.detail) == (
        "different",
        "2 messages only in the file, another title here, another branch shown here",
    )
    assert before == [rows(there, table, chat) for table in TABLES]
    (told,) = brought(here, old)  # All that the file holds is here.
    assert (told.how, told.detail) == ("same", "2 messages only here, another title here, another branch shown here")


def test_as_new_it_comes_beside_the_other_and_is_paid_once(stores: tuple[Store, Store]) -> None:
    store = stores[0]
    chat = turn(store).conversation
    (told,) = brought(store, export.as_json(gather(store, chat)), as_new=True)
    assert told.how == "imported"
    assert told.id != chat
    assert [m.text for m in store.branch(told.id)] == [m.text for m in store.branch(chat)]
    assert not {m.id for m in store.branch(told.id)} & {m.id for m in store.branch(chat)}
    assert len(store.receipts()) == len(store.receipts_of(chat)) == 1


def test_a_deleted_chat_comes_back_and_its_receipts_find_it(stores: tuple[Store, Store]) -> None:
    store = stores[0]
    answer = turn(store)
    written = export.as_json(gather(store, answer.conversation))
    store.delete(answer.conversation)
    assert [receipt.conversation for receipt in store.receipts()] == [None]
    assert brought(store, written)[0].how == "imported"
    assert [(r.conversation, r.message) for r in store.receipts()] == [(answer.conversation, answer.id)]


def test_what_was_thrown_away_is_not_exported_and_does_not_come_in_again(stores: tuple[Store, Store]) -> None:
    store = stores[0]
    first = turn(store)
    second = turn(store, "secret", first.conversation)
    whole = export.as_json(gather(store, first.conversation))
    tree.throw_away_message(store, second.parent or "")
    written = export.as_json(gather(store, first.conversation))
    assert "secret" not in written
    assert brought(stores[1], written)[0].how == "imported"
    assert [receipt.message for receipt in stores[1].receipts_of(first.conversation)] == [first.id, None]
    assert brought(store, written)[0].how == "same"
    shelf.throw_away(store, first.conversation)
    (told,) = brought(store, whole)
    assert told.how == "thrown_away"
    assert "chats restore" in told.detail
    assert store.conversations() == []


def test_a_message_of_another_chat_keeps_a_chat_out(stores: tuple[Store, Store]) -> None:
    store = stores[0]
    chat = turn(store).conversation
    written = export.as_json(gather(store, chat)).replace(chat, new_id())
    with pytest.raises(CannotImport, match="in another chat") as told:
        take_in(store, read_one(written))
    assert "--as-new" in told.value.hint
    assert len(store.conversations()) == 1
    assert brought(store, written, as_new=True)[0].how == "imported"


def test_a_running_answer_is_exported_as_far_as_it_is_and_comes_in_interrupted(stores: tuple[Store, Store]) -> None:
    store = stores[0]
    answer = new_id()
    descriptor = spool.create(answer)
    row = store.begin(answer, ASKED, "long")
    os.write(descriptor, msgspec.json.encode(Record(answer, 0, 1.0, Text("so f"))) + b"\n")
    written = export.as_json(gather(store, row.conversation))
    os.close(descriptor)
    brought(stores[1], written)
    (_, there) = stores[1].branch(row.conversation)
    assert (there.text, there.state) == ("so f", "interrupted")


def test_one_branch_is_the_way_to_a_message(stores: tuple[Store, Store]) -> None:
    store = stores[0]
    first = turn(store)
    question = store.message(first.parent or "")
    assert question is not None
    again = store.begin_again(new_id(), ASKED, question, None)
    store.finish(again.id, fold([]))
    whole = gather(store, first.conversation)
    assert [m.id for m in export.branch(whole).messages] == [question.id, again.id]
    other = export.branch(whole, first.id[:10])
    assert [m.id for m in other.messages] == [question.id, first.id]
    assert other.others == 1
    assert [one.message for one in other.receipts] == [first.id]
    (told,) = brought(stores[1], export.as_json(other))
    assert (told.how, told.messages) == ("imported", 2)
    with pytest.raises(Exception, match="no such message"):
        export.branch(whole, "zz")


def test_what_came_in_is_found_by_its_words(stores: tuple[Store, Store]) -> None:
    from tui.chat.searching import search

    brought(stores[0], '[{"role": "user", "content": "Rayleigh 散射"}]')
    many = ", ".join(f'{{"role": "user", "content": "number{n}"}}' for n in range(300))
    brought(stores[0], f"[{many}]")
    assert search.catch_up(stores[0], 10)
    assert [hit.snippet for hit in search.search(stores[0], "散")] == ["Rayleigh 散射"]
    assert len(search.search(stores[0], "number299")) == 1
