"""`chats list` and `chats show`: the conversations in a table, and one of them to read."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from tui.chat.asking import Asking
from tui.chat.exporting import export, plain_text
from tui.chat.exporting.export import Exported
from tui.chat.exporting.plain_text import when
from tui.chat.storing import paging, tree
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation
from tui.commands import chats_find, output, table

LIMIT = 20


class ChatRow(msgspec.Struct, frozen=True):
    """One conversation of the list. Times are Unix seconds; `messages` counts the branch that is shown.

    `asking` is what it asks of its model in place of its preset, None where that is nothing.
    """

    id: str
    title: str
    created_at: float
    updated_at: float
    preset: str | None
    messages: int
    pinned_at: float | None
    archived_at: float | None
    deleted_at: float | None
    asking: Asking | None


class BranchRow(msgspec.Struct, frozen=True):
    """One branch of a conversation, by the message that it ends with; `text` is the first line of that."""

    message: str
    created_at: float
    messages: int
    shown: bool
    text: str


def configure(actions: Any) -> None:
    """Add `list` and `show`."""
    listing = chats_find.add_action(actions, "list", "the conversations (the default)", listed)
    listing.add_argument("--limit", type=chats_find.positive, default=LIMIT, metavar="N", help=f"at most N ({LIMIT})")
    which = listing.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="every one, also those put aside")
    which.add_argument("--archived", action="store_true", help="those that were put aside")
    which.add_argument("--deleted", action="store_true", help="those that `restore` can bring back")
    showing = chats_find.add_action(actions, "show", "one conversation", _show)
    showing.add_argument("id", metavar="ID", help=chats_find.ID_HELP)
    which = showing.add_mutually_exclusive_group()
    which.add_argument("--branch", metavar="MESSAGE", help="the branch that ends with this message")
    which.add_argument("--branches", action="store_true", help="with which message each of its branches ends")
    showing.add_argument("--show-thinking", action="store_true", help="print thoughts too")


def listed(arguments: argparse.Namespace) -> int:
    """Print the list. Raises Problem."""
    with chats_find.opened() as store:
        found, more = _chosen(store, arguments)
        rows = [_row(store, chat) for chat in found]
    if arguments.json:
        output.say_json({"chats": rows, "more": more})
        return output.DONE
    if not rows:
        output.say(_none(arguments))
        return output.DONE
    heads = ["ID", "LAST USED", "MESSAGES", "PRESET", "TITLE"]
    cells = [[r.id[: chats_find.ID_DIGITS], when(r.updated_at), str(r.messages), r.preset or "", r.title] for r in rows]
    marks = [_mark(row) for row in rows]
    if any(marks):
        heads.insert(4, "MARK")
        for cell, mark in zip(cells, marks, strict=True):
            cell.insert(4, mark)
    for line in table.table(heads, cells, table.width()):
        output.say(line)
    if more:
        output.say("There are more: deepseek-tui chats list --limit N, or --all")
    return output.DONE


def _chosen(store: Store, arguments: argparse.Namespace) -> tuple[list[Conversation], bool]:
    """Return the conversations that are wanted, and whether there are more of them."""
    if arguments.all:
        return paging.every(store), False
    limit = arguments.limit
    if arguments.deleted:
        found = chats_find.thrown_away(store)
    else:
        found = store.conversations(limit + 1, archived=arguments.archived)
    return found[:limit], len(found) > limit


def _none(arguments: argparse.Namespace) -> str:
    if arguments.archived:
        return "No chat was put aside. deepseek-tui chats archive ID does it."
    if arguments.deleted:
        return "There is nothing to restore."
    return 'There are no chats yet. Begin one: deepseek-tui ask "Why is the sky blue?"'


def _row(store: Store, chat: Conversation) -> ChatRow:
    return ChatRow(
        chat.id,
        chat.title,
        chat.created_at,
        chat.updated_at,
        chat.preset,
        store.branch_length(chat.id),
        chat.pinned_at,
        chat.archived_at,
        chat.deleted_at,
        chat.asking,
    )


def _mark(row: ChatRow) -> str:
    if row.deleted_at is not None:
        return "deleted"
    return "archived" if row.archived_at is not None else "pinned" if row.pinned_at is not None else ""


def _show(arguments: argparse.Namespace) -> int:
    with chats_find.opened() as store:
        chat = paging.named(store, arguments.id)
        if arguments.branches:
            return _show_branches(export.gather(store, chat.id), as_json=arguments.json)
        if arguments.branch is None:
            messages = [export.so_far(message) for message in store.branch(chat.id)]
        else:
            messages = list(export.branch(export.gather(store, chat.id), arguments.branch).messages)
        versions = tree.versions(store, messages)
    if arguments.json:
        output.say_json({"chat": chat, "messages": messages, "versions": versions})
    else:
        said = plain_text.text(chat, messages, thoughts=arguments.show_thinking, versions=versions)
        output.say(said.removesuffix("\n"))
    return output.DONE


def _show_branches(whole: Exported, *, as_json: bool) -> int:
    rows = [
        BranchRow(
            end.id,
            end.created_at,
            len(export.branch(whole, end.id).messages),
            end.id == whole.chat.head,
            next((line for line in (end.text or end.reasoning).splitlines() if line.strip()), ""),
        )
        for end in export.ends(whole)
    ]
    if as_json:
        output.say_json({"chat": whole.chat, "branches": rows})
        return output.DONE
    cells = [
        (r.message[: chats_find.ID_DIGITS], when(r.created_at), str(r.messages), "shown" if r.shown else "", r.text)
        for r in rows
    ]
    for line in table.table(("ENDS WITH", "AT", "MESSAGES", "", "ITS FIRST LINE"), cells, table.width()):
        output.say(line)
    return output.DONE
