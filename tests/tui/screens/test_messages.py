"""What the keys of the messages do: edit, answer anew, walk, delete and take back, export. Nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.events import Done, Text
from tests.tui.screens.chatting import Person, at_the_screen
from tests.tui.screens.conftest import USAGE, said
from tui.chat.storing.store import Store
from tui.widgets.composer import Composer
from tui.widgets.transcript import Transcript


def talk(*pairs: tuple[str, str]) -> None:
    said(*((question, [Text(answer, 2), Done("stop", USAGE)]) for question, answer in pairs))


def preset(home: Path, name: str, options: str) -> None:
    (home / "config" / "presets" / f"{name}.toml").write_text(
        f'title = "{name.title()}"\nslot = 6\nbackend = "echo"\nkeep_alive_s = 0.1\n[model]\nfamily = "echo"\n'
        f'quantization = "none"\n[backends.echo]\nsource = "server:{name}"\n{options}\n'
    )


def test_a_question_is_edited_asked_beside_the_old_one_and_walked_back_from() -> None:
    talk(("one", "first"), ("two", "second"))

    async def look(person: Person) -> None:
        composer = person.screen.query_one(Composer)
        await person.types(*"draft")
        await person.goes_to(Transcript)
        await person.types("p", "e", "!", "enter")
        await person.until(lambda: person.texts == ["one", "first", "two!", "two!"])
        await person.waits()
        assert composer.text == "draft"
        assert "You ‹2/2›" in person.shown()
        await person.goes_to(Transcript)
        await person.types("end", "p", "left")
        await person.until(lambda: person.texts == ["one", "first", "two", "second"])
        assert "You ‹1/2›" in person.shown()
        assert person.screen.query_one(Transcript).stood == person.session.branch[2].id
        await person.types("left")
        await person.pilot.pause(0.05)
        assert "This is the first version" in person.shown()
        await person.types("right")
        await person.until(lambda: person.texts[2:] == ["two!", "two!"])
        await person.types("p", "right")
        await person.pilot.pause(0.05)
        assert "One version: e edits" in person.shown()

    at_the_screen(look)


def test_esc_ends_an_edit_and_what_was_typed_before_is_back_and_another_chat_has_neither() -> None:
    talk(("one", "first"))

    async def look(person: Person) -> None:
        composer = person.screen.query_one(Composer)
        await person.types(*"draft")
        await person.goes_to(Transcript)
        await person.types("e")
        assert "Editing: Enter asks" in person.shown()
        assert (composer.text, composer.has_focus) == ("one", True)
        await person.types("escape")
        assert "Editing: Enter asks" not in person.shown()
        assert composer.text == "draft"
        await person.goes_to(Transcript)
        await person.types("e", "ctrl+n")
        await person.until(lambda: "Editing: Enter asks" not in person.shown())
        assert composer.text == ""

    at_the_screen(look)


def test_r_answers_the_question_stood_on_once_more_with_the_preset_chosen_now(home: Path) -> None:
    talk(("one", "first"), ("two", "second"))
    preset(home, "other", 'text = "anew"')

    async def look(person: Person) -> None:
        await person.goes_to(Transcript)
        await person.types("f7", "p", "p", "r")
        await person.until(lambda: person.texts == ["one", "anew"])
        await person.waits()
        assert "Other · echo ‹2/2›" in person.shown()
        assert "two" not in person.texts

    at_the_screen(look)


def test_what_is_deleted_is_told_for_as_long_as_u_takes_it_back() -> None:
    talk(("one", "first"), ("two", "second"), ("three", "third"))

    async def look(person: Person) -> None:
        await person.goes_to(Transcript)
        await person.types("p", "d")
        await person.until(lambda: person.texts == ["one", "first", "two", "second"])
        await person.until(lambda: "Deleted · u takes it back: three" in person.shown())
        await person.types("d")
        await person.until(lambda: "Deleted · u takes it back, then 1 more: second" in person.shown())
        await person.goes_to(Composer)
        assert "u in the messages takes it back" in person.shown()
        await person.goes_to(Transcript)
        await person.types("u", "u")
        await person.until(lambda: person.texts == ["one", "first", "two", "second", "three", "third"])
        await person.until(lambda: "Deleted ·" not in person.shown())
        await person.types("d")
        await person.until(lambda: "Deleted ·" in person.shown())
        await person.goes_to(Composer)
        await person.types(*"go", "enter")
        await person.waits()
        assert "Deleted ·" not in person.shown()
        await person.goes_to(Transcript)
        await person.types("u")
        await person.until(lambda: "Nothing was deleted here" in person.shown())

    at_the_screen(look)


def test_while_an_answer_runs_nothing_is_asked_anew_or_deleted_and_it_is_said_why(home: Path) -> None:
    preset(home, "talker", f'text = "{"word " * 200}"\ntokens_per_second = 60')

    async def look(person: Person) -> None:
        await person.types(*"hi", "enter")
        await person.until(lambda: person.session.answer is not None and person.session.answer.text)
        await person.goes_to(Transcript)
        await person.types("r")
        await person.until(lambda: "An answer is running: Esc stops it" in person.shown())
        await person.types("d")
        await person.until(lambda: "An answer to this message is still being written" in person.shown())
        await person.types("p", "p", "e", "enter")
        await person.until(lambda: "Your text stays here" in person.shown())
        assert person.screen.query_one(Composer).text == "hi"
        await person.types("escape")  # The answer first, then the edit.
        await person.waits()
        assert "Editing: Enter asks" in person.shown()
        await person.types("escape")
        assert "Editing: Enter asks" not in person.shown()
        assert person.session.branch[-1].state == "stopped"

    at_the_screen(look, preset="talker")


def test_x_exports_the_branch_and_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    talk(("one [/x] \x1b[31m", "first"))
    monkeypatch.chdir(tmp_path)

    async def look(person: Person) -> None:
        await person.goes_to(Transcript)
        await person.types("x")
        await person.until(lambda: list(tmp_path.glob("*.md")))
        await person.until(lambda: "Exported" in person.shown())
        told.append(person.screen._shown._notices[-1].text)

    told: list[str] = []
    at_the_screen(look)
    written = next(tmp_path.glob("*.md"))
    assert written.name in told[0]
    assert "first" in written.read_text()


def test_the_palette_has_it_all_and_an_empty_chat_needs_none_of_it() -> None:
    async def look(person: Person) -> None:
        titles = {command.title: command for command in person.screen.get_commands()}
        assert {"Edit the question …", "Export the chat as Markdown", "Take back what was deleted"} <= titles.keys()
        assert "Rename this chat …" not in titles
        await person.goes_to(Transcript)
        await person.types("e", "r", "d", "x", "left")
        await person.until(lambda: "There is no message yet" in person.shown())
        talk(("one", "first"))
        chat = Store().conversations()[0]
        await person.session.open(chat.id)
        await person.pilot.pause()
        titles = {command.title: command for command in person.screen.get_commands()}
        assert {"Rename this chat …", "Pin this chat", "Archive this chat", "Delete this chat"} <= titles.keys()
        titles["Edit the question …"].callback()
        await person.until(lambda: "Editing: Enter asks" in person.shown())
        assert person.screen.query_one(Composer).text == "one"

    at_the_screen(look)
