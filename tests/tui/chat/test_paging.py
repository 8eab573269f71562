"""A window on the list of conversations: it holds no more than it is asked for, and all of them can be come to."""

from __future__ import annotations

import pytest

from tui.chat.storing import shelf
from tui.chat.storing.paging import last_used, page
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id


@pytest.fixture
def store(home: object) -> Store:
    return Store()


def chats(store: Store, many: int) -> list[str]:
    """Make chats; return their ids, last used first."""
    made = []
    for number in range(many):
        made.append(store.begin(new_id(), Asked("p", "echo", "m"), f"question {number}").conversation)
        with store.transaction() as db:
            db.execute("UPDATE conversation SET updated_at = ? WHERE id = ?", (1000.0 + number, made[-1]))
    return made[::-1]


def test_a_window_moves_over_all_chats_and_stops_at_both_ends(store: Store) -> None:
    ids = chats(store, 25)
    first, middle, last = (page(store, offset, 10, archived=False) for offset in (-5, 10, 99))
    assert [chat.id for chat in first.chats] == ids[:10]
    assert (first.more_before, first.more_after, first.listed) == (False, True, 25)
    assert [chat.id for chat in middle.chats] == ids[10:20]
    assert (middle.more_before, middle.more_after) == (True, True)
    assert [chat.id for chat in last.chats] == ids[15:]
    assert (last.offset, last.more_before, last.more_after) == (15, True, False)


def test_archived_chats_come_after_the_others_where_they_are_wanted(store: Store) -> None:
    ids = chats(store, 12)
    for chat in ids[:4]:
        shelf.archive(store, chat, on=True)
    without = page(store, 0, 10, archived=False)
    assert [chat.id for chat in without.chats] == ids[4:]
    assert (without.put_aside, without.archived, without.more_after) == ((), 4, False)
    both = page(store, 0, 10, archived=True)
    assert [chat.id for chat in (*both.chats, *both.put_aside)] == [*ids[4:], *ids[:2]]
    assert both.more_after
    rest = page(store, 99, 3, archived=True)
    assert [chat.id for chat in (*rest.chats, *rest.put_aside)] == ids[1:4]
    assert not rest.more_after


def test_what_was_thrown_away_is_in_no_window_and_pinned_ones_are_first(store: Store) -> None:
    ids = chats(store, 4)
    with store.transaction() as db:
        db.execute("UPDATE conversation SET deleted_at = 1 WHERE id = ?", (ids[0],))
    shelf.pin(store, ids[3], on=True)
    found = page(store, 0, 10, archived=True)
    assert [chat.id for chat in found.chats] == [ids[3], ids[1], ids[2]]
    assert found.listed == 3


def test_the_last_used_chat_is_no_pinned_or_archived_one(store: Store) -> None:
    assert last_used(store) is None
    ids = chats(store, 3)
    shelf.pin(store, ids[2], on=True)
    shelf.archive(store, ids[0], on=True)
    assert last_used(store).id == ids[1]
    for chat in ids:
        shelf.archive(store, chat, on=True)
    assert last_used(store).id == ids[0]
