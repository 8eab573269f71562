"""What the keys copy: the source of what is stood on, its code one after the other, what is selected."""

from __future__ import annotations

import base64
import re

import pytest
from textual.selection import SELECT_ALL

from backends.events import Done, Text
from tests.tui.screens.chatting import Person, at_the_screen
from tests.tui.screens.conftest import USAGE, said
from tui.line import clipboard, outlet
from tui.widgets.composer import Composer
from tui.widgets.transcript import Transcript
from tui.widgets.transcript.code import code_blocks

MARKDOWN = "So $x^2$:\n\n```make\nall:\n\techo 1\n```\n\n1. then\n   ~~~\n   two\n   ~~~\n\nend\n\n    four\n"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was sent to the clipboard."""
    for name in ("TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    texts: list[str] = []

    def say(sequence: str) -> None:
        found = re.search(r"\x1b\]52;c;(.*)\a", sequence)
        texts.extend([base64.b64decode(found[1]).decode()] if found else [])

    monkeypatch.setattr(outlet, "say", say)
    return texts


def test_code_blocks_are_found_wherever_they_are_and_keep_their_tabs() -> None:
    assert [(code.text, code.language) for code in code_blocks(MARKDOWN)] == [
        ("all:\n\techo 1", "make"), ("two", ""), ("four", ""),
    ]  # fmt: skip
    assert code_blocks("no `code` here") == []
    assert code_blocks("```\nopen") == code_blocks("```\nopen\n```")
    assert [code.text for code in code_blocks("> ```\n> quoted\n> ```\n\n```\n```")] == ["quoted", ""]


def test_the_keys_copy_the_source(sent: list[str]) -> None:
    said(("one", [Text(MARKDOWN, 9), Done("stop", USAGE)]), ("two", [Text("no code", 2), Done("stop", USAGE)]))

    async def look(person: Person) -> None:
        await person.goes_to(Transcript)
        await person.types("c")
        await person.until(lambda: sent == ["no code"])
        assert "The message: sent to the terminal's clipboard" in person.shown()
        await person.types("C")
        await person.until(lambda: "There is no code in this message" in person.shown())
        await person.types("[", "[", "c")
        await person.until(lambda: sent[1:] == [MARKDOWN])
        for _ in range(4):
            count = len(sent)
            await person.types("C")
            await person.until(lambda count=count: len(sent) > count)
        assert sent[2:] == ["all:\n\techo 1", "two", "four", "all:\n\techo 1"]
        assert "C again: the next one" in person.shown()
        await person.types("Y")
        await person.until(lambda: len(sent) == 7)
        assert sent[6].startswith("# one\n")
        assert "echo 1" in sent[6]
        assert "no code" in sent[6]

    at_the_screen(look)


def test_the_code_in_view_is_the_first_to_be_copied(sent: list[str]) -> None:
    long = "\n\n".join(f"```\nblock {number}\n```\n\n" + "word\n\n" * 30 for number in range(4))
    said(("one", [Text(long, 9), Done("stop", USAGE)]))

    async def look(person: Person) -> None:
        await person.goes_to(Transcript)
        await person.types("home", *["pagedown"] * 2, "C")
        await person.until(lambda: sent)
        assert re.search(r"block \d", person.shown())[0] == sent[0]

    at_the_screen(look)


def test_ctrl_c_copies_what_is_selected_and_else_stops(sent: list[str]) -> None:
    said(("one", [Text("an answer", 2), Done("stop", USAGE)]))

    async def look(person: Person) -> None:
        await person.types(*"typed", "ctrl+c")
        await person.until(lambda: "Nothing is running" in person.shown())
        person.screen.query_one(Composer).select_all()
        await person.types("ctrl+c")
        await person.until(lambda: sent == ["typed"])
        assert "The selection: sent" in person.shown()
        person.screen.query_one(Composer).clear()
        person.screen.selections = {person.screen.query_one(Transcript): SELECT_ALL}
        await person.pilot.pause()
        await person.types("ctrl+c")
        await person.until(lambda: len(sent) == 2)
        assert "an answer" in sent[1]
        await person.types("ctrl+c")
        await person.until(lambda: "Nothing is running" in person.shown())
        assert len(sent) == 2

    at_the_screen(look)


def test_there_is_nothing_to_copy_in_an_empty_chat(sent: list[str]) -> None:
    async def look(person: Person) -> None:
        await person.goes_to(Transcript)
        await person.types("c")
        await person.until(lambda: "There is no message yet" in person.shown())
        assert sent == []

    at_the_screen(look)


def test_where_a_copy_is_can_be_read_in_a_narrow_window_too(monkeypatch: pytest.MonkeyPatch) -> None:
    said(("one", [Text("an answer", 2), Done("stop", USAGE)]))
    monkeypatch.setattr(clipboard._Chosen, "setting", "file")

    async def look(person: Person) -> None:
        await person.goes_to(Transcript)
        await person.types("c")
        await person.until(lambda: person.told().endswith("copied.txt"))

    at_the_screen(look, size=(40, 10))
