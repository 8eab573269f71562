"""Pictures of messages stood on, edited and deleted, of the chats kept in order, and of the search."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from backends.events import Done, Reasoning, Text
from tests.tui.screens.chatting import Person
from tests.tui.screens.conftest import BOTH, NOW, USAGE, WHOLE, picture, said
from tui.chat.answer import fold
from tui.chat.searching import search
from tui.chat.storing import shelf, tree
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id
from tui.screens.chat import messages
from tui.screens.search import SearchScreen
from tui.widgets.chat_list import ChatList
from tui.widgets.transcript import Transcript

ASKED = Asked("8b-q4_k_m", "llama_cpp", "x")


@pytest.fixture(autouse=True)
def _same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same order of chats and messages in every picture."""
    count = iter(range(10_000))
    monkeypatch.setattr("tui.chat.storing.stored.os.urandom", lambda size: next(count).to_bytes(size, "big"))


def chats() -> None:
    """A conversation with branches, and others beside it: pinned, of other days, hostile, put aside."""
    done = Done("stop", USAGE)
    said(("What is a semver regex?", [Text("It is long.", 3), done]))
    said(("显存的带宽为什么重要?", [Reasoning("带宽 decides", 3), Text("因为每个词都要读一遍全部权重。", 9), done]))
    said(("[/x] [bold]no \x1b[31mred \u202eleft", [Text("The card reads [/x] \x1b[31m all of it", 3), done]))
    said(("A note put aside", [Text("Nothing to see.", 3), done]))
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE), ("And the KV cache?", [Text("So.", 2), done]))
    store = Store()
    ids = {chat.title: chat.id for chat in store.conversations()}
    with store.transaction() as db:
        for place, chat in enumerate(sorted(ids.values(), reverse=True)):
            db.execute("UPDATE conversation SET updated_at = ? WHERE id = ?", (NOW - place * 43_200, chat))
        long_ago = ids["What is a semver regex?"]
        db.execute("UPDATE message SET created_at = created_at - 86400 * 5 WHERE conversation = ?", (long_ago,))
    shelf.pin(store, ids["显存的带宽为什么重要?"], on=True)
    shelf.archive(store, ids["A note put aside"], on=True)
    chat = ids["Why is decode memory-bound on an 8 GB card?"]
    question = store.branch(chat)[2]
    for text in ("And the KV cache, please?", "And what of the KV cache at 8k tokens?"):
        row = tree.begin_edit(store, new_id(), ASKED, question, text)
        store.finish(row.id, fold([]))
        with store.transaction() as db:
            said_now = "It has to be read too: 816 MiB a token."
            db.execute("UPDATE message SET text = ?, state = 'done' WHERE id = ?", (said_now, row.id))
            db.execute("UPDATE conversation SET updated_at = ? WHERE id = ?", (NOW, chat))
    store.close()


async def in_messages(pilot: Pilot[None]) -> None:
    await Person(pilot).goes_to(Transcript)


async def in_chats(pilot: Pilot[None]) -> None:
    person = Person(pilot)
    if pilot.app.size.width < 100:
        await person.types("ctrl+l")
    await person.goes_to(ChatList)


def shows(text: str) -> object:
    async def wait(pilot: Pilot[None]) -> None:
        for _ in range(200):
            await pilot.pause(0.02)
            if text in "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips()):
                return
        raise AssertionError(text)

    return wait


def searched(text: str) -> object:
    """Wait until what is found for all of `text` is shown: until then keys of the list go to what was found before."""

    async def wait(pilot: Pilot[None]) -> None:
        for _ in range(200):
            await pilot.pause(0.02)
            screen = pilot.app.screen
            assert isinstance(screen, SearchScreen)
            if screen._text == text and screen._complete and screen._hits:
                return
        raise AssertionError(text)

    return wait


@BOTH
def test_a_message_stood_on_that_has_other_versions(snap_compare, size) -> None:
    chats()
    picture(snap_compare, size, in_messages, "p")


@BOTH
def test_a_question_being_edited(snap_compare, size) -> None:
    chats()
    picture(snap_compare, size, in_messages, "p", "e")


@BOTH
def test_a_deleted_message_that_can_be_taken_back(snap_compare, size) -> None:
    chats()
    picture(snap_compare, size, in_messages, "p", "d", shows("takes it back"))


@BOTH
def test_an_exported_chat(snap_compare, size, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chats()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(messages, "shown_path", lambda path: f"~/{path.name}")
    picture(snap_compare, size, in_messages, "x", shows("Exported"))


@BOTH
def test_the_chats_in_order_with_the_archived_ones(snap_compare, size) -> None:
    chats()
    picture(snap_compare, size, in_chats, "end", "enter", shows("put aside"))


@BOTH
def test_a_chat_being_renamed(snap_compare, size) -> None:
    chats()
    picture(snap_compare, size, in_chats, "e", shows("Rename chat"), "end")


@BOTH
def test_a_deleted_chat_that_can_be_taken_back(snap_compare, size) -> None:
    chats()
    picture(snap_compare, size, in_chats, "d", shows("takes it back"))


@BOTH
def test_a_search_with_hits(snap_compare, size) -> None:
    chats()
    picture(snap_compare, size, "ctrl+f", *"read", searched("read"), "down")


@BOTH
def test_a_search_while_the_index_is_behind(snap_compare, size, monkeypatch: pytest.MonkeyPatch) -> None:
    chats()
    monkeypatch.setattr(search, "catch_up", lambda _store, _s: False)
    monkeypatch.setattr(search, "complete", lambda _store: False)
    picture(snap_compare, size, "ctrl+f", *"带宽", shows("older messages"))


@BOTH
def test_what_was_found_in_its_chat(snap_compare, size) -> None:
    chats()

    async def choose(pilot: Pilot[None]) -> None:
        results = pilot.app.screen.query_one(OptionList)
        found = [n for n, option in enumerate(results.options) if "Every generated" in str(option.prompt)]
        results.highlighted = found[0]
        pilot.app.screen.query_one(Input).focus()

    keys = ("ctrl+f", *"weights token", searched("weights token"), choose, "enter")
    picture(snap_compare, size, *keys, shows("all the weights"))


@BOTH
def test_a_chat_that_was_deleted_elsewhere(snap_compare, size) -> None:
    chats()

    async def delete(pilot: Pilot[None]) -> None:
        person = Person(pilot)
        other = Store()
        shelf.throw_away(other, person.session.conversation.id)
        other.close()
        await person.screen._look_around()

    picture(snap_compare, size, delete, shows("deleted by another"))
