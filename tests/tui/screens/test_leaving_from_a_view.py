"""The key that leaves: it works in every view, but not where something is typed that nobody keeps."""

from __future__ import annotations

import pytest

from tests.tui.screens.chatting import Person, at_the_screen


@pytest.mark.parametrize("view", ["f1", "f8", "f9"])
def test_one_key_leaves_from_every_view(view: str) -> None:
    async def look(person: Person) -> None:
        await person.types(view)
        await person.until(lambda: person.pilot.app.screen is not person.screen)
        await person.types("ctrl+q")
        await person.until(lambda: person.pilot.app._exit)

    at_the_screen(look)


def test_what_is_typed_into_a_form_is_not_left_by_one_key() -> None:
    async def look(person: Person) -> None:
        await person.types("f10")
        await person.until(lambda: person.pilot.app.screen is not person.screen)
        await person.types(*"Answer", "ctrl+q")
        await person.until(lambda: any("Close this first" in said.message for said in person.pilot.app._notifications))
        assert not person.pilot.app._exit
        await person.types("escape")
        await person.until(lambda: "Leave without saving" in person.shown())
        await person.types("y")
        await person.until(lambda: person.pilot.app.screen is person.screen)
        await person.types("ctrl+q")
        await person.until(lambda: person.pilot.app._exit)

    at_the_screen(look)
