"""A deleted conversation leaves nothing behind: no spool, draft, copy or question for ↑, no state in host or file."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from backends import chat_states
from backends.errors import Problem
from backends.host import launch, spool
from backends.host.client import open_client
from tui.chat import asked, copied, drafts
from tui.chat.storing import shelf
from tui.chat.storing.shelf import Purged
from tui.chat.storing.store import Store

FORGET_S = 2.0
KEPT_S = 7 * 24 * 3600.0
"""How long what was thrown away can be taken back."""


async def forget(chat: str, messages: Sequence[str] = (), *, whole: bool = True, gone_s: float = 0.0) -> None:
    """Remove what is kept of a deleted conversation beside the store. Raises Problem if a file stays behind.

    If not the `whole` of it was deleted, what is typed in it stays. It cannot be seen, or copied, since `gone_s` ago.
    A host that is answering does it after its answer; nobody waits for that.
    """
    for message in set(spool.answers()).intersection(messages):
        spool.remove(message)
    await asyncio.gather(*(_tell(view, chat) for view in await launch.survey()))
    await asyncio.to_thread(chat_states.forget, chat)
    await asyncio.to_thread(asked.forget, chat if whole else "", messages)
    await asyncio.to_thread(copied.drop, gone_s)
    if whole:
        await asyncio.to_thread(drafts.drop, chat)


def left(store: Store) -> list[str]:
    """Return the chats that are gone while something of them is kept: who deleted them did not live to forget it.

    Raises StoreError.
    """
    kept = chat_states.chats() | drafts.chats() | asked.chats()
    return sorted(kept - {row["id"] for row in store.rows("SELECT id FROM conversation")}) if kept else []


def is_due(store: Store, older_than_s: float = KEPT_S) -> bool:
    """Say whether anything was thrown away so long ago, or is left of what is gone. Raises StoreError."""
    before = time.time() - older_than_s
    query = (
        "SELECT 1 FROM conversation WHERE deleted_at <= ?1 UNION ALL SELECT 1 FROM message WHERE deleted_at <= ?1"
        " UNION ALL SELECT 1 FROM indexing WHERE name = 'sweep' LIMIT 1"
    )
    return bool(store.rows(query, before) or left(store))


async def empty(store: Store, older_than_s: float = KEPT_S) -> list[Purged]:
    """Delete for good what was thrown away so long ago, with all that is kept of it. Raises Problem."""
    purged = await asyncio.to_thread(shelf.purge, store, older_than_s)
    for one in purged:
        # A state holds the words of single messages too.
        await forget(one.conversation, one.messages, whole=one.whole, gone_s=older_than_s)
    for chat in await asyncio.to_thread(left, store):
        await forget(chat)
    return purged


async def _tell(view: launch.HostView, chat: str) -> None:
    with contextlib.suppress(OSError, TimeoutError, Problem):
        client = await open_client(view.folder, "")
        try:
            async with asyncio.timeout(FORGET_S):
                await client.forget(chat)
        finally:
            await client.close()
