"""A chat of thousands of messages on the screen: few of them are laid out; and what is looked after behind it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.long_chats import long_chat
from tests.tui.screens.chatting import Person, at_the_screen
from tests.tui.screens.conftest import said
from tui.chat.searching import search
from tui.chat.storing import forgetting
from tui.chat.storing.store import Store
from tui.screens.chat.finding import look_after
from tui.widgets.chat_list import ChatList
from tui.widgets.transcript import Transcript


def test_of_five_thousand_messages_few_are_laid_out_and_the_end_is_there_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said(("Why?", []))
    chat = long_chat(5000)
    replaced: list[int] = []
    show = Transcript.show

    def watched(transcript: Transcript, entries: list[object]) -> None:
        replaced.append(len(entries))
        show(transcript, entries)  # type: ignore[arg-type]

    async def look(person: Person) -> None:
        monkeypatch.setattr(Transcript, "show", watched)
        layouts = lambda: person.screen.query_one(Transcript)._column.layouts  # noqa: E731
        person.screen.post_message(ChatList.Opened(chat))
        await person.until(lambda: "message 4999" in person.shown())
        assert replaced == [5000]
        assert sum(layout.rows is not None for layout in layouts()) < 30
        await person.goes_to(Transcript)
        await person.types(*["pageup"] * 5, "p", "p", "home")
        await person.until(lambda: "message 0" in person.shown())
        assert sum(layout.rows is not None for layout in layouts()) < 30
        assert sum(layout.height is not None for layout in layouts()) < 120
        assert replaced == [5000]

    at_the_screen(look)


async def test_behind_the_screen_the_index_is_caught_up_and_what_is_a_week_old_is_gone(home: Path) -> None:
    kept, gone = long_chat(4), long_chat(4)
    store = Store()
    with store.transaction() as db:
        week_ago = time.time() - forgetting.KEPT_S - 60
        db.execute("UPDATE conversation SET deleted_at = ? WHERE id = ?", (week_ago, gone))
    assert not search.complete(store)
    await look_after(store)
    assert search.complete(store)
    assert [row["id"] for row in store.rows("SELECT id FROM conversation")] == [kept]
    store.close()
    await look_after(store)  # Nothing can be read: that is for the next start.
