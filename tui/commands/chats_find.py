"""What the actions of `chats` share: the store, opened, and how a chat is named."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from backends.errors import Problem
from tui.chat import recovery
from tui.chat.storing import forgetting
from tui.chat.storing.paging import LAST
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation, conversation_of
from tui.commands import parser
from tui.settings import rates

ID_DIGITS = 8
ID_HELP = 'its id, the beginning of it, or "last"'


@contextmanager
def opened() -> Iterator[Store]:
    """Open the conversations: what was left behind is taken in, what was thrown away long ago is gone.

    Raises StoreError.
    """
    store = Store(rates=rates())
    try:
        recovery.take_in_all(store)
        with contextlib.suppress(Problem):  # It is tried again each time, and is no reason to do nothing now.
            if forgetting.is_due(store):
                asyncio.run(forgetting.empty(store))
        yield store
    finally:
        store.close()


def thrown_away(store: Store, wanted: str | None = None) -> list[Conversation]:
    """Return the chats that were thrown away and are not gone yet, the latest first; those that begin with `wanted`."""
    rows = store.rows("SELECT * FROM conversation WHERE deleted_at IS NOT NULL ORDER BY deleted_at DESC, id")
    found = [conversation_of(row) for row in rows]
    if wanted == LAST:
        return found[:1]
    return [chat for chat in found if wanted is None or (wanted and chat.id.startswith(wanted))]


def add_action(actions: Any, name: str, what: str, act: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    """Add an action of `chats`, with --json; `act` does it."""
    added: argparse.ArgumentParser = actions.add_parser(name, help=what, allow_abbrev=False)
    added.set_defaults(act=act)
    parser.add_json(added, argparse.SUPPRESS)
    return added


def positive(text: str) -> int:
    """Return a number from one on, for argparse."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number
