"""Chats that are there without a model: for tests of the commands that look after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.chat.answer import fold
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run

ASKED = Asked("starter", "echo", "model")


def begin(*questions: str, chat: str | None = None) -> str:
    """Ask in a new chat, or in one that is there; return its id."""
    store = Store()
    for question in questions:
        row = store.begin(new_id(), ASKED, question, chat)
        store.finish(row.id, fold([]))
        chat = row.conversation
    store.close()
    assert chat is not None
    return chat


def titles(run: Run) -> list[str]:
    """The titles as `chats` lists them."""
    return [chat["title"] for chat in run("chats", "--json").json["chats"]]
