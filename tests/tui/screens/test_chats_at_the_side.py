"""The chats at the side: named, pinned, put aside, deleted and taken back; few are read, however many there are."""

from __future__ import annotations

import time

import pytest
from textual.widgets import Input

from backends import paths
from backends.events import Done, Text
from tests.tui.screens.chatting import Person, at_the_screen
from tests.tui.screens.conftest import NOW, USAGE, said
from tui.chat.storing import shelf
from tui.chat.storing.paging import page
from tui.chat.storing.store import Store
from tui.chat.storing.stored import new_id
from tui.screens.chat import lists
from tui.screens.chat.shelving import WINDOW
from tui.widgets.chat_list import ChatList
from tui.widgets.composer import Composer
from tui.widgets.transcript import Transcript


def talks(*questions: str) -> list[str]:
    """Begin chats; return their ids in the order of the list, the last one first."""
    for question in questions:
        said((question, [Text("so", 1), Done("stop", USAGE)]))
    store = Store()
    for number, question in enumerate(questions):
        with store.transaction() as db:
            db.execute("UPDATE conversation SET updated_at = ? WHERE title = ?", (NOW - 60 + number, question))
    ids = [chat.id for chat in store.conversations()]
    store.close()
    return ids


def listed(person: Person) -> list[str]:
    """The lines of the list as they read."""
    chats = person.screen.query_one(ChatList)
    return [str(option.prompt).strip() for option in chats.options]


def here(person: Person) -> str | None:
    option = person.screen.query_one(ChatList).highlighted_option
    return option.id if option is not None else None


def test_a_chat_is_renamed_pinned_and_put_aside() -> None:
    three, two, one = talks("one", "two", "three")

    async def look(person: Person) -> None:
        await person.goes_to(ChatList)
        assert listed(person) == ["Today", "▌three", "two", "one"]
        await person.types("e")
        await person.until(lambda: person.pilot.app.screen.query(Input))
        await person.types("ctrl+u", *"Sky", "enter")
        await person.until(lambda: "▌Sky" in listed(person))
        assert "Sky" in person.shown().splitlines()[0]
        await person.types("e")
        await person.until(lambda: person.pilot.app.screen.query(Input))
        await person.types("backspace", "enter")
        await person.until(lambda: "▌three" in listed(person))
        await person.types("down", "down", "p")
        await person.until(lambda: listed(person) == ["Pinned", "◆ one", "Today", "▌three", "two"])
        assert here(person) == one
        await person.types("p")
        await person.until(lambda: listed(person) == ["Today", "▌three", "two", "one"])
        await person.types("up", "a")
        await person.until(lambda: listed(person) == ["Today", "▌three", "one", "▸ Archived · 1"])
        assert here(person) == one
        await person.types("end", "enter")
        await person.until(lambda: listed(person)[-2:] == ["▾ Archived · 1", "two"])
        await person.types("end", "a")
        await person.until(lambda: listed(person) == ["Today", "▌three", "two", "one"])
        assert (here(person), person.session.conversation.id) == (two, three)

    at_the_screen(look)


def test_deleted_chats_come_back_one_by_one_the_open_one_open() -> None:
    three, two, _ = talks("one", "two", "three")

    async def look(person: Person) -> None:
        await person.goes_to(ChatList)
        await person.types("d")
        await person.until(lambda: listed(person) == ["Today", "two", "one"])
        assert person.session.conversation is None
        assert here(person) == two
        await person.until(lambda: "Deleted · u takes it back: three" in person.shown())
        await person.types("d")
        await person.until(lambda: listed(person) == ["Today", "one"])
        await person.types("u", "u")
        await person.until(lambda: listed(person) == ["Today", "▌three", "two", "one"])
        assert person.session.conversation.id == three
        await person.until(lambda: "Deleted ·" not in person.shown())

    at_the_screen(look)


def test_what_others_delete_and_what_cannot_be_deleted_is_told() -> None:
    two, one = talks("one", "two")
    store = Store()

    async def look(person: Person) -> None:
        await person.goes_to(ChatList)
        shelf.throw_away(store, one)
        await person.types("down", "p")
        await person.until(lambda: "There is no such chat" in person.shown())
        with store.transaction() as db:
            db.execute("UPDATE message SET state = 'streaming' WHERE conversation = ?", (two,))
        await person.types("up", "d")
        await person.until(lambda: "An answer in this chat is still being written" in person.shown())
        with store.transaction() as db:
            db.execute("UPDATE message SET state = 'done' WHERE conversation = ?", (two,))
        shelf.throw_away(store, two)
        await person.screen._look_around()
        await person.until(lambda: "was deleted by another program" in person.shown())
        assert person.session.conversation is None

    at_the_screen(look)


def test_a_database_that_is_replaced_while_open_is_told_and_no_key_brings_the_screen_down() -> None:
    talks("one", "two")

    async def look(person: Person) -> None:
        kept = paths.database().with_name("kept")
        paths.database().rename(kept)
        paths.database().touch()
        await person.screen._look_around()
        await person.until(lambda: "were deleted or replaced while they are open" in person.shown())
        await person.types(*"hi", "enter")
        await person.pilot.pause(0.1)
        assert person.screen.query_one(Composer).text == "hi"
        await person.goes_to(Transcript)
        await person.types("d", "r", "x", "u", "left")
        await person.goes_to(ChatList)
        await person.types("p", "a", "d", "e", "enter")
        await person.pilot.pause(0.1)
        await person.types("ctrl+f", "o")
        await person.until(lambda: "✗ The conversations" in person.shown())
        await person.types("escape", "ctrl+n")
        kept.replace(paths.database())
        await person.goes_to(ChatList)
        await person.types("home", "enter")
        await person.until(lambda: person.texts == ["two", "so"])

    at_the_screen(look)


def test_titles_are_harmless_and_a_long_one_is_cut() -> None:
    talks("[/x] [bold]no \x1b[31mred \x1b]52;c;aGk=\x07 \u202eleft", "x" * 500)

    async def look(person: Person) -> None:
        await person.goes_to(ChatList)
        shown = person.shown()
        assert not any(character in shown for character in "\x1b\x07\u202e")
        assert "[/x] [bold]no" in shown
        await person.types("down", "e")
        await person.until(lambda: person.pilot.app.screen.query(Input))
        assert not any(character in person.shown() for character in "\x1b\x07\u202e")
        await person.types("enter")
        await person.types("d")
        await person.until(lambda: "Deleted · u takes it back: [/x] [bold]no" in person.shown())

    at_the_screen(look)


def test_of_ten_thousand_chats_few_are_in_the_list_and_all_can_be_come_to(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    with store.transaction() as db:
        db.executemany(
            "INSERT INTO conversation (id, title, created_at, updated_at) VALUES (?, ?, ?, ?)",
            [(new_id(), f"number {n}", NOW, NOW - n) for n in range(10_000)],
        )
    store.close()
    asked: list[int] = []
    conversations = Store.conversations

    def watched(store: Store, limit: int = 200, *more: int, **others: bool) -> object:
        asked.append(limit)
        return conversations(store, limit, *more, **others)

    monkeypatch.setattr(Store, "conversations", watched)

    async def look(person: Person) -> None:
        chats = person.screen.query_one(ChatList)
        await person.goes_to(ChatList)
        assert chats.option_count == WINDOW + 1
        for _ in range(3):
            last = listed(person)[-1]
            await person.types("end")
            await person.until(lambda last=last: listed(person)[-1] != last)
            assert here(person) is not None
        assert "number 299" in listed(person)
        assert chats.option_count <= WINDOW + 2
        while "▌number 0" not in listed(person):
            first = listed(person)[1]
            await person.types("home")
            await person.until(lambda first=first: listed(person)[1] != first)
        # Going on line by line, nothing is skipped.
        for number in range(WINDOW - 15, WINDOW + 10):
            chats.highlighted = next(n for n, line in enumerate(listed(person)) if line == f"number {number}")
            await person.pilot.pause()
        assert max(asked) == WINDOW

    at_the_screen(look)


def test_a_list_of_chats_has_its_days_and_says_which_is_open() -> None:
    *_, yesterday, today = (time.localtime(NOW - days * 86_400) for days in (2, 1, 0))
    assert yesterday.tm_mday != today.tm_mday
    ids = talks("one", "two", "three")
    store = Store()
    with store.transaction() as db:
        for days, chat in enumerate(ids):
            db.execute("UPDATE conversation SET updated_at = ? WHERE id = ?", (NOW - days * 86_400, chat))
    found = lists.chat_lines(page(store, 0, 10, archived=False), ids[1])
    assert [line.title for line in found] == ["Today", "three", "Yesterday", "two", "2026-02-28", "one"]
    assert [line.id for line in found if line.open] == [ids[1]]
