"""What is typed is kept for its chat: while switching, across starts, and until it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.screens.chatting import Person, at_the_screen
from tests.tui.screens.test_messages import preset, talk
from tui.chat import asked, drafts
from tui.chat.drafts import Draft
from tui.chat.storing.store import Store
from tui.screens.chat import typing
from tui.widgets.composer import Composer
from tui.widgets.transcript import Transcript

SLOW = f'text = "{"word " * 120}"\ntokens_per_second = 40'


def typed(person: Person) -> str:
    return person.screen.query_one(Composer).text


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    drafts._known.clear()


def test_each_chat_keeps_its_own_draft_and_cursor_while_others_are_looked_at() -> None:
    talk(("one", "first"))
    chat = Store().conversations()[0].id

    async def look(person: Person) -> None:
        await person.types(*"abc", "left", "ctrl+n", *"new")
        assert typed(person) == "new"
        await person.session.open(chat)
        await person.until(lambda: typed(person) == "abc")
        await person.types("X")
        assert typed(person) == "abXc"
        await person.types("ctrl+n")
        await person.until(lambda: typed(person) == "new")

    at_the_screen(look)
    assert drafts.load(chat).text == "abXc"
    assert drafts.load(None).text == "new"


def test_half_a_second_after_a_key_it_is_on_the_disk_and_what_is_sent_leaves_it() -> None:
    async def look(person: Person) -> None:
        await person.types(*"hello")
        await person.until(lambda: drafts.load(None).text == "hello")
        await person.types("enter")
        await person.waits()
        await person.until(lambda: not list(drafts.folder().glob("*.json")))
        assert person.texts[0] == "hello"

    at_the_screen(look)


def test_the_next_start_shows_what_was_typed_last_in_whichever_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    talk(("one", "first"), ("two", "second"))
    chat = Store().conversations()[0].id
    drafts.save(chat, Draft("and?", (0, 1), at=1.0))
    drafts.save(None, Draft("later than all", (0, 5), at=9e9))

    async def new(person: Person) -> None:
        assert person.session.conversation is None
        assert typed(person) == "later than all"

    at_the_screen(new)
    drafts.save(None, Draft(at=9.1e9))

    async def last(person: Person) -> None:
        await person.types("X")
        assert typed(person) == "aXnd?"

    at_the_screen(last)


def test_an_edited_question_is_edited_on_at_the_next_start_with_what_was_typed_before_it() -> None:
    talk(("one", "first"))

    async def begin(person: Person) -> None:
        await person.types(*"draft")
        await person.goes_to(Transcript)
        await person.types("e", *" more")
        await person.until(lambda: drafts.load(person.session.branch[0].conversation).text == "one more")

    at_the_screen(begin)

    async def go_on(person: Person) -> None:
        assert "Editing: Enter asks" in person.shown()
        assert typed(person) == "one more"
        await person.types("enter")
        await person.waits()
        assert person.texts[0] == "one more"
        assert "You ‹2/2›" in person.shown()
        assert typed(person) == "draft"

    at_the_screen(go_on)


def test_where_no_draft_can_be_kept_it_is_told_once_and_typing_goes_on(home: Path) -> None:
    (home / "state").mkdir(parents=True, exist_ok=True)
    (home / "state" / "drafts").write_text("in the way")

    async def look(person: Person) -> None:
        await person.types(*"hi")
        await person.until(lambda: "cannot be kept on the disk" in person.shown())
        before = len(person.screen._shown._notices)
        await person.types(*" you")
        await person.pilot.pause(0.7)
        assert len(person.screen._shown._notices) == before
        await person.types("enter")
        await person.waits()
        assert person.texts[0] == "hi you"

    at_the_screen(look)


def test_what_could_not_be_sent_is_back_in_front_of_what_was_typed_since() -> None:
    async def look(person: Person) -> None:
        person.session.target = None
        await person.types(*"hi", "enter")
        await person.until(lambda: "No model is chosen" in person.shown())
        assert typed(person) == "hi"

    at_the_screen(look)


def test_the_next_question_waits_for_the_answer_and_is_on_disk_meanwhile(home: Path) -> None:
    preset(home, "talker", SLOW)

    async def look(person: Person) -> None:
        await person.types(*"hi", "enter")
        await person.until(lambda: person.session.answer is not None and person.session.answer.text)
        await person.types(*"and [/x] then", "enter")
        await person.until(lambda: "Next: and [/x] then" in person.shown())
        assert drafts.load(person.session.branch[0].conversation).queued == ("and [/x] then",)
        assert typed(person) == ""
        await person.types(*"typed on")
        await person.until(lambda: len(person.texts) == 4)
        assert person.texts[2] == "and [/x] then"
        assert typed(person) == "typed on"
        assert "Next:" not in person.shown()
        await person.until(lambda: drafts.load(person.session.branch[0].conversation).queued == ())
        await person.types("escape")
        await person.waits()

    at_the_screen(look, preset="talker")


def test_esc_takes_the_queued_question_back_first_and_stops_the_answer_then(home: Path) -> None:
    preset(home, "talker", SLOW)

    async def look(person: Person) -> None:
        await person.types(*"hi", "enter")
        await person.until(lambda: person.session.answer is not None and person.session.answer.text)
        await person.types(*"one", "enter", *"two", "enter")
        await person.until(lambda: "and 1 more" in person.shown())
        await person.types("escape")
        assert typed(person) == "two"
        assert "Next: one" in person.shown()
        await person.types("escape")
        assert typed(person) == "one\ntwo"
        assert person.session.busy
        await person.types("escape")
        await person.waits()
        assert person.session.branch[-1].state == "stopped"
        assert typed(person) == "one\ntwo"

    at_the_screen(look, preset="talker")


def test_after_an_answer_that_failed_the_queued_question_is_typed_again(home: Path) -> None:
    preset(home, "dies", f'{SLOW}\nfail = "decode"\nafter = 40')

    async def look(person: Person) -> None:
        await person.types(*"hi", "enter")
        await person.until(lambda: person.session.answer is not None and person.session.answer.text)
        await person.types(*"next", "enter")
        await person.until(lambda: "Next: next" in person.shown())
        await person.until(lambda: typed(person) == "next")
        assert len(person.texts) == 2
        assert "Next:" not in person.shown()

    at_the_screen(look, preset="dies")


def test_another_chat_puts_a_queued_question_away_and_coming_back_it_is_typed_again(home: Path) -> None:
    preset(home, "talker", SLOW)

    async def look(person: Person) -> None:
        await person.types(*"hi", "enter")
        await person.until(lambda: person.session.answer is not None and person.session.answer.text)
        await person.types(*"next", "enter")
        await person.until(lambda: "Next: next" in person.shown())
        chat = person.session.branch[0].conversation
        await person.types("ctrl+n")
        await person.until(lambda: "Next:" not in person.shown())
        assert typed(person) == ""
        await person.session.open(chat)
        await person.until(lambda: typed(person) == "next")
        await person.types("escape")
        await person.waits()

    at_the_screen(look, preset="talker")


def test_enter_twice_asks_once_and_what_is_typed_at_once_after_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(person: Person) -> None:
        await person.types(*"hi", "enter", "enter", *"there")
        await person.waits()
        assert person.texts == ["hi", "hi"]
        assert typed(person) == "there"

    at_the_screen(look)


def test_up_and_down_walk_through_what_was_asked_in_all_chats_and_back_to_what_is_typed() -> None:
    talk(("one", "first"))
    talk(("long " * 60, "second"))

    async def look(person: Person) -> None:
        await person.types("ctrl+n", *"typed", "up")
        await person.until(lambda: typed(person) == "long " * 60)
        await person.types("up")
        await person.until(lambda: typed(person) == "one")
        await person.types("up", "up", "down")
        await person.until(lambda: typed(person) == "long " * 60)
        await person.pilot.pause(0.6)
        assert drafts.load(None).text == "typed"
        await person.types("down")
        await person.until(lambda: typed(person) == "typed")
        await person.types("!", "enter")
        await person.waits()
        await person.until(lambda: asked.file().read_text().count("typed!") == 1)
        await person.types("up")
        await person.until(lambda: typed(person) == "typed!")

    at_the_screen(look)


def test_without_history_nothing_is_kept_and_up_finds_the_questions_of_the_open_chat(home: Path) -> None:
    talk(("one", "first"), ("two", "second"))
    (home / "config" / "config.toml").write_text("history = false\n")

    async def look(person: Person) -> None:
        await person.types(*"three", "enter")
        await person.waits()
        for text in ("three", "two", "one"):
            await person.types("up")
            await person.until(lambda text=text: typed(person) == text)
        await person.types("up")
        assert typed(person) == "one"
        assert not asked.file().exists()
        await person.types("ctrl+n", "up")
        assert typed(person) == ""

    at_the_screen(look)


def test_drafts_are_kept_soon() -> None:
    assert typing.KEEP_S <= 0.5


def test_what_was_typed_in_a_chat_that_another_deletes_for_good_stays_in_the_composer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.screens.chat.screen.REFRESH_S", 0.2)
    talk(("one", "first"))

    async def look(person: Person) -> None:
        await person.types(*"mine")
        chat = person.session.branch[0].conversation
        other = Store()
        other.delete(chat)
        other.close()
        await person.until(lambda: person.session.conversation is None)
        await person.until(lambda: typed(person) == "mine")
        assert drafts.chats() <= {chat}

    at_the_screen(look)
    assert drafts.load(None).text == "mine"
