"""What a chat asks of its model: kept with it, carried out and in, put over its preset, refused where it is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Message, Sampling
from tests.tui.chat.chat_files import ASKING
from tests.tui.chat.conftest import make_target
from tests.tui.chat.kept_chats import ASKED, kinds, turn
from tui.chat.asking import BOUNDS, MOST_CHARACTERS, NOTHING, NUMBERS, Asking, BadAsking, read_number, read_system
from tui.chat.exporting import export
from tui.chat.exporting.export import gather
from tui.chat.exporting.markdown import markdown
from tui.chat.exporting.plain_text import text as plain_text
from tui.chat.history import history
from tui.chat.importing import reading
from tui.chat.importing.incoming import CannotImport, Incoming
from tui.chat.importing.taking_in import take_in
from tui.chat.storing import shelf, upkeep
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError, new_id

FRENCH = Asking("Answer only in French.", temperature=0.2, seed=7)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "chats.sqlite3")
    yield made
    made.close()


def read(text: str) -> Incoming | CannotImport:
    (one,) = reading.read(text.encode(), "file")
    return one


# Kept.


def test_a_new_chat_keeps_what_it_was_begun_with_and_each_turn_leaves_it(store: Store) -> None:
    chat = store.begin(new_id(), ASKED, "bonjour", None, FRENCH).conversation
    assert store.conversation(chat).asking == FRENCH
    assert store.conversations()[0].asking == FRENCH
    shelf.rename(store, chat, "another")
    assert store.conversation(chat).asking == FRENCH


def test_what_is_asked_can_be_changed_and_taken_away(store: Store) -> None:
    chat = store.conversation(turn(store, "hello").conversation)
    assert chat.asking is None
    assert shelf.ask_so(store, chat, FRENCH) == store.conversation(chat.id)
    assert store.conversation(chat.id).asking == FRENCH
    assert shelf.ask_so(store, chat, NOTHING) == store.conversation(chat.id) == chat
    store.delete(chat.id)
    with pytest.raises(StoreError, match="no such chat"):
        shelf.ask_so(store, chat, FRENCH)


def test_half_a_character_is_kept_as_a_whole_one(store: Store) -> None:
    chat = store.begin(new_id(), ASKED, "hello", None, Asking("caf\udce9")).conversation
    assert store.conversation(chat).asking == Asking("caf\ufffd")


@pytest.mark.parametrize(
    "kept", ["{", "", "[1]", '{"temperature": 99}', '{"mood": 1}', "null", '{"system": "\\ud800"}']
)
def test_what_cannot_be_read_costs_nobody_the_chat_and_is_found_and_mended(home: Path, kept: str) -> None:
    store = Store()
    chat = turn(store, "hello").conversation
    with store.transaction() as db:
        db.execute("UPDATE conversation SET asking = ?", (kept,))
    found = store.conversation(chat)
    assert (found.asking, found.asking_lost, found.title) == (None, True, "hello")
    assert [message.text for message in store.branch(chat)] == ["hello", "answer"]
    store.close()
    assert kinds(upkeep.check()) == ["garbled"]
    assert "conversation 1: asking" in upkeep.check().findings[0].detail
    assert upkeep.repair().after.sound
    store = Store()
    assert not store.conversation(chat).asking_lost
    store.close()


# Carried out and in: that a file loses nothing of it is in test_chats_out_and_in.py.


def test_a_chat_that_asks_nothing_is_written_so_that_an_older_program_reads_it(store: Store) -> None:
    plain, asking = turn(store, "hello").conversation, store.begin(new_id(), ASKED, "salut", None, FRENCH).conversation
    written = json.loads(export.as_json(gather(store, plain)))
    assert (written["version"], "asking" in written["chat"]) == (1, False)
    written = json.loads(export.as_json(gather(store, asking)))
    assert (written["version"], written["chat"]["asking"]) == (
        2,
        {"system": "Answer only in French.", "temperature": 0.2, "seed": 7},
    )


@pytest.mark.parametrize(
    ("asking", "told"),
    [
        ({"temperature": 11}, "chat.asking.temperature: Expected `float` <= 10.0"),
        ({"temperature": -0.1}, "chat.asking.temperature: Expected `float` >= 0.0"),
        ({"context": "large"}, "chat.asking.context: Expected `int | null`, got `str`"),
        ({"context": 1}, "chat.asking.context: Expected `int` >= 256"),
        ({"mood": "good"}, "chat.asking: Object contains unknown field `mood`"),
        ({"system": "x" * (MOST_CHARACTERS + 1)}, "chat.asking.system: Expected `str` of length <= 100000"),
        (5, "chat.asking: Expected `object | null`, got `int`"),
    ],
)
def test_a_file_that_asks_what_cannot_be_names_the_key(store: Store, asking: Any, told: str) -> None:
    file = json.loads(export.as_json(gather(store, turn(store, "hello").conversation)))
    file["chat"] |= {"asking": asking, "id": new_id()}
    problem = read(json.dumps(file))
    assert isinstance(problem, CannotImport)
    assert told in problem.detail


def test_the_same_chat_that_asks_otherwise_is_told_and_nothing_is_overwritten(store: Store) -> None:
    chat = store.begin(new_id(), ASKED, "salut", None, FRENCH).conversation
    written = export.as_json(gather(store, chat))
    shelf.ask_so(store, store.conversation(chat), Asking(temperature=1.0))
    one = read(written)
    assert isinstance(one, Incoming)
    outcome = take_in(store, one)
    assert outcome.detail == "another system prompt or sampling here"
    assert store.conversation(chat).asking == Asking(temperature=1.0)
    copy = take_in(store, one, as_new=True)
    assert store.conversation(copy.id).asking == FRENCH


def test_whoever_reads_a_chat_sees_what_it_asks_for(store: Store) -> None:
    asking = Asking('Say "oui":\x1b[31m\n- briefly', temperature=0.2, context=8192)
    chat = store.begin(new_id(), ASKED, "salut", None, asking).conversation
    one = export.branch(gather(store, chat))
    head = yaml.safe_load(markdown(one, thoughts=False).split("---\n")[1])
    assert (head["system_prompt"], head["temperature"], head["context"]) == (asking.system, 0.2, 8192)
    assert "seed" not in head
    said = plain_text(one.chat, one.messages, thoughts=False)
    assert "Asks for: system prompt, temperature 0.2, context 8192\n" in said
    assert 'System prompt\nSay "oui":␛[31m\n- briefly\n' in said
    plain = export.branch(gather(store, turn(store, "hello").conversation))
    assert "system_prompt" not in markdown(plain, thoughts=False)
    assert "Asks for" not in plain_text(plain.chat, plain.messages, thoughts=False)


# Put over the preset.


def test_only_what_is_asked_takes_the_place_of_the_presets(store: Store) -> None:
    preset = make_target(context=4096)
    sampling = Sampling(temperature=0.6, top_k=40, max_tokens=100)
    preset = msgspec.structs.replace(preset, sampling=sampling)
    assert preset.asked_so(NOTHING) == preset
    asked = preset.asked_so(Asking("Be short.", temperature=0.0, seed=0, context=8192))
    assert asked.sampling == Sampling(temperature=0.0, top_k=40, max_tokens=100, seed=0)
    assert (asked.system, asked.spec.options["context"]) == ("Be short.", 8192)
    assert make_target().asked_so(Asking(context=8192)).spec == make_target().spec, "its backend is told no context"


def test_the_system_prompt_stands_before_all_that_is_sent_and_is_no_message_of_the_chat(store: Store) -> None:
    branch = store.branch(turn(store, "hello").conversation)
    sent = history(branch, system="Be short.")
    assert sent.messages == (Message("system", "Be short."), Message("user", "hello"), Message("assistant", "answer"))
    assert sent.ids == ((), (branch[0].id,), (branch[1].id,))
    marked = [msgspec.structs.replace(branch[0], context_start="what was before")]
    said = history(marked, system="Be short.").messages
    assert said[0] == Message("system", "Be short.\n\nSummary of the conversation so far:\n\nwhat was before")


# What is typed.


@given(ASKING)
def test_what_a_chat_may_ask_is_what_can_be_typed(asking: Asking) -> None:
    typed = {name: read_number(name, str(getattr(asking, name))) for name in NUMBERS if name in asking.names}
    assert Asking(read_system(asking.system), **typed) == msgspec.structs.replace(asking, system=asking.system.strip())
    assert msgspec.json.decode(msgspec.json.encode(asking), type=Asking) == asking


@given(st.sampled_from(NUMBERS), st.text() | st.floats().map(str) | st.integers().map(str))
def test_whatever_is_typed_is_a_value_within_its_bounds_or_refused_by_name(key: str, text: str) -> None:
    refused, value = None, None
    try:
        value = read_number(key, text)
    except BadAsking as problem:
        refused = problem
    if refused is not None:
        assert (refused.key, key in refused.title, refused.detail.startswith("Expected ")) == (key, True, True)
        assert len(refused.detail) < 500
    else:
        assert value is None or BOUNDS[key][1] <= value <= BOUNDS[key][2]
        assert msgspec.convert({key: value}, Asking)


def test_a_system_prompt_without_a_word_is_none_and_one_too_long_is_refused() -> None:
    assert read_system("  \n ") == ""
    assert read_system("\nBe short.\n") == "Be short."
    with pytest.raises(BadAsking, match="100,001 characters; at most 100,000"):
        read_system("x" * (MOST_CHARACTERS + 1))


def test_a_number_that_is_none_is_refused() -> None:
    for text in ("nan", "inf", "-0.1", "10.1", "warm"):
        with pytest.raises(BadAsking, match="temperature cannot be used") as raised:
            read_number("temperature", text)
        assert raised.value.detail == f"Expected a number from 0 to 10, found {text}."
