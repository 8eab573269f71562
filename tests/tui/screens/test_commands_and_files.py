"""`/` commands and `@file` as they are typed: offered, taken by Tab, done or sent, and told where they cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets._toast import Toast

from tests.tui.screens.chatting import Person, at_the_screen
from tests.tui.screens.test_messages import preset, talk
from tests.tui.screens.test_typing import typed
from tui.chat import drafts
from tui.screens.help import HelpScreen
from tui.widgets.composer import Composer


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drafts._known.clear()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_tab_takes_what_is_offered_and_the_next_one_after_that() -> None:
    async def look(person: Person) -> None:
        await person.types(*"/re")
        await person.until(lambda: "/retry  /resume  /rename  /redraw · Tab takes it" in person.shown())
        await person.types("tab")
        assert typed(person) == "/retry"
        assert "/resume  /rename  /retry" not in person.shown()
        await person.types("tab", "tab")
        assert typed(person) == "/rename"
        await person.types("tab", "tab")
        assert typed(person) == "/retry"
        await person.types("backspace", "backspace", "backspace", "n")
        await person.until(lambda: "/rename  Rename · Tab takes it" in person.shown())
        await person.types("escape", *["backspace"] * 4)
        await person.until(lambda: "takes it" not in person.shown())
        await person.types("tab")
        assert not person.screen.query_one(Composer).has_focus

    at_the_screen(look)


def test_a_preset_is_chosen_by_its_name(home: Path) -> None:
    preset(home, "other", 'text = "anew"')

    async def look(person: Person) -> None:
        await person.types(*"/pres", "tab")
        await person.until(lambda: "8b-q4_k_m  14b-q3_k_s-offload" in person.shown())
        await person.types(*"oth", "tab")
        assert typed(person) == "/preset other"
        await person.types("enter")
        await person.until(lambda: person.session.target is not None and person.session.target.preset == "other")
        assert typed(person) == ""
        await person.types(*"/preset nothing", "enter")
        await person.until(lambda: "There is no preset nothing. There are:" in person.told())
        assert person.told().endswith("starter")
        assert typed(person) == "/preset nothing"

    at_the_screen(look)


def test_chats_are_opened_by_words_of_their_title_and_what_keys_do_is_done(tmp_path: Path) -> None:
    talk(("why is the sky blue", "first"))
    talk(("semver [regex]", "second"))

    async def look(person: Person) -> None:
        await person.types(*"/chat BLUE sky", "enter")
        await person.until(lambda: person.texts[:1] == ["why is the sky blue"])
        await person.types(*"/chat semv")
        await person.until(lambda: "semver [regex]  Tab takes it" in person.shown())
        await person.types("tab", "enter")
        await person.until(lambda: person.texts[:1] == ["semver [regex]"])
        await person.types(*"/new", "enter")
        await person.until(lambda: not person.texts)
        await person.types(*"/chat sky", "enter")
        await person.until(lambda: person.texts)
        await person.types(*"/export", "enter")
        await person.until(lambda: list(tmp_path.glob("here/*.md")))
        await person.types(*"/edit", "enter")
        await person.until(lambda: typed(person) == "why is the sky blue")
        await person.types("escape", *"/delete-chat", "enter")
        await person.until(lambda: not person.texts)
        await person.types(*"/undo", "enter")
        await person.until(lambda: person.texts)
        await person.types(*"/help", "enter")
        await person.until(lambda: isinstance(person.pilot.app.screen, HelpScreen))

    at_the_screen(look)


def test_an_unknown_command_is_not_sent_but_by_enter_once_more() -> None:
    async def look(person: Person) -> None:
        await person.types(*"/exprot", "enter")
        await person.until(
            lambda: "Not sent: no command /exprot, but /export · Enter again sends it as it is" in person.shown()
        )
        assert typed(person) == "/exprot"
        await person.types("enter")
        await person.waits()
        assert person.texts == ["/exprot", "/exprot"]
        await person.types(*"//new", "enter")
        await person.until(lambda: len(person.texts) == 4)
        await person.waits()
        assert person.texts[2] == "/new"
        await person.types(*"/etc/fstab?", "enter")
        await person.until(lambda: len(person.texts) == 6)
        await person.waits()

    at_the_screen(look)


def test_a_file_is_told_before_it_goes_along_and_goes_along_fenced() -> None:
    Path("notes.txt").write_text("x" * 3000)

    async def look(person: Person) -> None:
        await person.types(*"see @no")
        await person.until(lambda: "@notes.txt  Tab takes it" in person.shown())
        await person.types("tab")
        await person.until(lambda: "Goes along: notes.txt · 3.0 KB · ~750 tokens" in person.shown())
        assert typed(person) == "see @notes.txt"
        await person.types("enter")
        await person.waits()
        assert person.texts[0] == f"see @notes.txt\n\nnotes.txt:\n```\n{'x' * 3000}\n```"
        await person.types("up")
        await person.until(lambda: typed(person) == "see @notes.txt")

    at_the_screen(look)


def test_a_file_that_cannot_go_along_is_told_and_enter_once_more_sends_the_words() -> None:
    Path("folder").mkdir()

    async def look(person: Person) -> None:
        await person.types(*"see @folder", "enter")
        await person.until(lambda: "Not sent: folder: it is a folder · Enter again sends it as it is" in person.shown())
        assert typed(person) == "see @folder"
        assert not person.texts
        await person.types("enter")
        await person.waits()
        assert person.texts[0] == "see @folder"

    at_the_screen(look)


def test_what_is_said_at_length_covers_nothing_that_is_typed() -> None:
    async def look(person: Person) -> None:
        await person.types(*f"@/{'folder/' * 12}file", "enter")
        await person.until(lambda: "there is no such file" in person.told())
        await person.until(lambda: list(person.screen.query(Toast)))
        composer = person.screen.query_one(Composer)
        assert typed(person).startswith("@/folder")
        assert all(toast.region.bottom < composer.region.y for toast in person.screen.query(Toast))

    at_the_screen(look, notifications=True)
