"""Who answers where nobody is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.chat.storing import shelf
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id
from tui.commands import choice
from tui.settings import Settings

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Write


def test_the_preset_of_the_chat_used_last_answers_and_not_that_of_a_pinned_one(preset: Write) -> None:
    preset("first")
    preset("second")
    store = Store()
    pinned = store.begin(new_id(), Asked("first", "echo", "m"), "An old question")
    store.begin(new_id(), Asked("second", "echo", "m"), "A new one")
    shelf.pin(store, pinned.conversation, on=True)
    assert choice.choose(None, None, Settings(), store).preset == "second"
    store.close()
    assert choice.choose(None, None, Settings(), None).preset == "second"
