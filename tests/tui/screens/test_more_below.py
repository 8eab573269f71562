"""The mark for more below stands at a place of its own, whatever is being done meanwhile."""

from __future__ import annotations

from backends.events import Done, Text
from tests.tui.screens.chatting import Person, at_the_screen
from tests.tui.screens.conftest import USAGE, said
from tui.widgets.transcript import Transcript


def test_it_is_there_while_something_else_is_said_and_while_a_model_loads() -> None:
    said(("one", [Text("line\n\n" * 60, 9), Done("stop", USAGE)]))

    async def look(person: Person) -> None:
        await person.goes_to(Transcript)
        assert "more below" not in person.shown()
        await person.types("pageup")
        await person.until(lambda: "↓ more below · End goes there" in person.shown())
        await person.types("left")
        await person.until(lambda: "One version" in person.shown())
        assert "more below" in person.shown()
        await person.types("f7")
        await person.until(lambda: person.session.loading)
        await person.pilot.pause(0.3)
        assert "more below" in person.shown()
        await person.types("escape", "end")
        await person.until(lambda: "more below" not in person.shown())

    at_the_screen(look)


def test_on_a_short_terminal_it_is_in_the_line_of_what_is_done() -> None:
    said(("one", [Text("line\n\n" * 60, 9), Done("stop", USAGE)]))

    async def look(person: Person) -> None:
        await person.goes_to(Transcript)
        await person.types("pageup")
        await person.until(lambda: "more below" in person.shown())
        await person.types("end")
        await person.until(lambda: "more below" not in person.shown())

    at_the_screen(look, (40, 10))
