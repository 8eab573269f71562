"""`chats rename`, `pin`, `archive`, `delete` and `restore`: conversations kept in order."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from typing import Any

from tui import units
from tui.chat.clean import clean_line
from tui.chat.exporting.plain_text import when
from tui.chat.storing import forgetting, paging, shelf
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation, StoreError
from tui.commands import chats_find, confirm, output


def configure(actions: Any) -> None:
    """Add what keeps conversations in order."""
    renaming = chats_find.add_action(actions, "rename", "give one another title", _rename)
    renaming.add_argument("id", metavar="ID", help=chats_find.ID_HELP)
    renaming.add_argument("title", metavar="TITLE", help='its new title; "" brings back that from its first question')
    pinning = chats_find.add_action(actions, "pin", "keep one at the top of the list", _pin)
    archiving = chats_find.add_action(actions, "archive", "put one aside, out of the list", _archive)
    for action in (pinning, archiving):
        action.add_argument("id", metavar="ID", help=chats_find.ID_HELP)
        action.add_argument("--off", action="store_true", help="undo it")
    deleting = chats_find.add_action(actions, "delete", "delete one for good", _delete)
    deleting.add_argument("id", metavar="ID", help=chats_find.ID_HELP)
    confirm.add_yes(deleting, "do not ask")
    restoring = chats_find.add_action(actions, "restore", "bring back one that was deleted on the screen", _restore)
    restoring.add_argument("id", metavar="ID", help=f"{chats_find.ID_HELP}; `chats list --deleted` shows them")


def _rename(arguments: argparse.Namespace) -> int:
    chat = _changed(arguments, lambda store, chat: shelf.rename(store, chat, arguments.title))
    return _said(arguments, chat, f"Its title is: {clean_line(chat.title)}")


def _pin(arguments: argparse.Namespace) -> int:
    chat = _changed(arguments, lambda store, chat: shelf.pin(store, chat, not arguments.off))
    return _said(arguments, chat, f"{'No longer pinned' if arguments.off else 'Pinned'}: {clean_line(chat.title)}")


def _archive(arguments: argparse.Namespace) -> int:
    chat = _changed(arguments, lambda store, chat: shelf.archive(store, chat, not arguments.off))
    return _said(arguments, chat, f"{'Back in the list' if arguments.off else 'Put aside'}: {clean_line(chat.title)}")


def _changed(arguments: argparse.Namespace, change: Callable[[Store, str], None]) -> Conversation:
    """Change the chat that is named, and return it as it is then."""
    with chats_find.opened() as store:
        chat = paging.named(store, arguments.id)
        change(store, chat.id)
        return store.conversation(chat.id)


def _restore(arguments: argparse.Namespace) -> int:
    with chats_find.opened() as store:
        chat = _one_thrown_away(store, arguments.id)
        shelf.take_back(store, chat.id)
        chat = store.conversation(chat.id)
    return _said(arguments, chat, f"Back again: {clean_line(chat.title)}")


def _delete(arguments: argparse.Namespace) -> int:
    with chats_find.opened() as store:
        chat = _to_delete(store, arguments.id)
        if not confirm.sure(_question(store, chat), arguments):
            output.warn("Nothing was deleted.")
            return output.STOPPED
        messages = store.delete(chat.id)
        asyncio.run(forgetting.forget(chat.id, messages))
    if arguments.json:
        output.say_json({"deleted": chat.id, "messages": len(messages)})
    else:
        output.say(f"Deleted: {clean_line(chat.title)}")
    return output.DONE


def _to_delete(store: Store, wanted: str) -> Conversation:
    """Return a chat that is to go for good: one of the list, or one that was thrown away already."""
    try:
        return paging.named(store, wanted)
    except StoreError:
        gone = chats_find.thrown_away(store, wanted)
        if wanted == paging.LAST or len(gone) != 1:
            raise
        return gone[0]


def _question(store: Store, chat: Conversation) -> str:
    # Of all branches: that is what would be gone.
    query = "SELECT count(*) FROM message WHERE conversation = ? AND deleted_at IS NULL"
    messages = units.counted(store.rows(query, chat.id)[0][0], "message")
    return f"Delete “{clean_line(chat.title)}” ({messages}, {when(chat.updated_at)}) for good?"


def _one_thrown_away(store: Store, wanted: str) -> Conversation:
    found = chats_find.thrown_away(store, wanted)
    if len(found) != 1:
        what = "There is no such chat to restore" if not found else "More than one chat begins so"
        raise StoreError(what, repr(wanted), "`deepseek-tui chats list --deleted` shows those that can be restored.")
    return found[0]


def _said(arguments: argparse.Namespace, chat: Conversation, what: str) -> int:
    if arguments.json:
        output.say_json({"chat": chat})
    else:
        output.say(what)
    return output.DONE
