"""Other keys in the running screen: what was bound before is free, and what Textual binds itself goes with it."""

from __future__ import annotations

from tests.tui.screens.chatting import Look, Person, at_the_screen
from tui.keys import reading
from tui.screens.help import HelpScreen
from tui.screens.plan import PlanScreen
from tui.settings import load_settings, settings_file
from tui.widgets.chat_list import ChatList
from tui.widgets.composer import Composer
from tui.widgets.transcript import Transcript


def with_keys(written: str, look: Look) -> None:
    settings_file().write_text(f"[keys]\n{written}")
    assert reading.take(load_settings({}).keys) == ()
    at_the_screen(look)


def test_going_round_by_another_key_leaves_tab_to_nothing() -> None:
    async def look(person: Person) -> None:
        await person.types("tab")
        assert isinstance(person.screen.focused, Composer)
        await person.types("f12")
        assert not isinstance(person.screen.focused, Composer)
        await person.types("f11")
        assert isinstance(person.screen.focused, Composer)

    with_keys('move.next = "f12"\nmove.previous = "f11"\n', look)


def test_a_key_that_is_taken_away_does_nothing_and_is_not_in_the_key_line() -> None:
    async def look(person: Person) -> None:
        await person.types("f8")
        assert not isinstance(person.pilot.app.screen, PlanScreen)
        assert "F8" not in person.shown()
        person.screen.call_later(person.screen.run_action, "plan")
        await person.until(lambda: isinstance(person.pilot.app.screen, PlanScreen))
        await person.types("f8")
        assert isinstance(person.pilot.app.screen, PlanScreen)
        await person.types("q")
        assert person.pilot.app.screen is person.screen

    with_keys('program.plan = ""\n', look)


def test_the_palette_opens_with_its_own_key_alone() -> None:
    async def look(person: Person) -> None:
        await person.types("ctrl+p")
        assert isinstance(person.pilot.app.screen, HelpScreen)
        await person.types("ctrl+p")
        assert person.pilot.app.screen is person.screen
        await person.types("f1")
        await person.until(lambda: "Search for commands" in person.shown())

    with_keys('program.palette = "f1"\nprogram.help = "ctrl+p"\n', look)


def test_places_have_their_own_keys_and_letters_stay_letters_in_the_composer() -> None:
    async def look(person: Person) -> None:
        await person.types(*"hello", "enter")
        await person.waits()
        await person.goes_to(Transcript)
        await person.types("j", "e")
        assert person.screen.query_one(Composer).text == ""
        await person.types("f12")
        assert person.screen.query_one(Composer).text == "hello"
        await person.types("escape")
        await person.types("w")
        assert person.screen.query_one(Composer).text.endswith("w")
        await person.goes_to(ChatList)
        await person.types("w")
        await person.until(lambda: "Rename chat" in person.shown())
        assert "f11 names it" in person.shown().lower()
        await person.types("enter")
        assert "Rename chat" in person.shown()
        await person.types("f11")
        assert "Rename chat" not in person.shown()

    with_keys('messages.edit = "f12"\nchats.rename = "w"\nline.submit = "f11"\n', look)
