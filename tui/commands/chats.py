"""`deepseek-tui chats`: what was said, newest first; one conversation to read, or to delete."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import msgspec

from backends.host import spool
from backends.titles import backend_title
from tui.chat import forgetting, recovery
from tui.chat.answer import fold
from tui.chat.clean import clean_line
from tui.chat.store import Store
from tui.chat.stored import Conversation, StoredMessage, StoreError
from tui.commands import output, parser, table
from tui.settings import rates

LIMIT = 20
ID_DIGITS = 8
_EPILOG = """\
examples:
  deepseek-tui chats                    the last 20
  deepseek-tui chats list --limit 100
  deepseek-tui chats show 3f9c          one, by the beginning of its id
  deepseek-tui chats show last          the one used last
  deepseek-tui chats delete 3f9c        for good, with all that is kept of it
  deepseek-tui -c 3f9c                  go on with it on the screen"""


class ChatRow(msgspec.Struct, frozen=True):
    """One conversation of the list. Times are Unix seconds; `messages` counts the branch that is shown."""

    id: str
    title: str
    created_at: float
    updated_at: float
    preset: str | None
    messages: int


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `chats`."""
    subparser.epilog = _EPILOG
    parser.add_json(subparser)
    subparser.set_defaults(limit=LIMIT)
    actions = subparser.add_subparsers(dest="action", metavar="ACTION")
    listing = actions.add_parser("list", help="the conversations (the default)", allow_abbrev=False)
    listing.add_argument("--limit", type=_positive, default=LIMIT, metavar="N", help=f"at most so many ({LIMIT})")
    showing = actions.add_parser("show", help="one conversation", allow_abbrev=False)
    showing.add_argument("id", metavar="ID", help='its id, the beginning of it, or "last"')
    showing.add_argument("--show-thinking", action="store_true", help="print thoughts too")
    deleting = actions.add_parser("delete", help="delete one conversation for good", allow_abbrev=False)
    deleting.add_argument("id", metavar="ID", help='its id, the beginning of it, or "last"')
    deleting.add_argument("--yes", action="store_true", help="do not ask")
    deleting.set_defaults(usage_error=deleting.error)
    for action in (listing, showing, deleting):
        parser.add_json(action, argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """List, show or delete; return the exit status. Raises Problem."""
    store = Store(rates=rates())
    try:
        recovery.take_in_all(store)
        if arguments.action == "show":
            return _show(store, arguments.id, arguments.json, thoughts=arguments.show_thinking)
        if arguments.action == "delete":
            return _delete(store, arguments)
        return _list(store, arguments.limit, arguments.json)
    finally:
        store.close()


def _list(store: Store, limit: int, as_json: bool) -> int:
    found = store.conversations(limit + 1)
    rows = [
        ChatRow(c.id, c.title, c.created_at, c.updated_at, c.preset, store.branch_length(c.id)) for c in found[:limit]
    ]
    more = len(found) > limit
    if as_json:
        output.say_json({"chats": rows, "more": more})
        return output.DONE
    if not rows:
        output.say('There are no chats yet. Begin one: deepseek-tui ask "Why is the sky blue?"')
        return output.DONE
    cells = [(r.id[:ID_DIGITS], _when(r.updated_at), str(r.messages), r.preset or "", r.title) for r in rows]
    for line in table.table(("ID", "LAST USED", "MESSAGES", "PRESET", "TITLE"), cells, table.width()):
        output.say(line)
    if more:
        output.say("There are more: deepseek-tui chats list --limit N")
    return output.DONE


def _show(store: Store, wanted: str, as_json: bool, *, thoughts: bool) -> int:
    chat = _find(store, wanted)
    branch = [_so_far(message) for message in store.branch(chat.id)]
    if as_json:
        output.say_json({"chat": chat, "messages": branch})
        return output.DONE
    _say_head(chat, len(branch))
    for message in branch:
        _say_message(message, thoughts=thoughts)
    return output.DONE


def _delete(store: Store, arguments: argparse.Namespace) -> int:
    chat = _find(store, arguments.id)
    if not arguments.yes and not _sure(store, chat, arguments):
        output.warn("Nothing was deleted.")
        return output.STOPPED
    messages = store.delete(chat.id)
    asyncio.run(forgetting.forget(chat.id, messages))
    if arguments.json:
        output.say_json({"deleted": chat.id, "messages": len(messages)})
    else:
        output.say(f"Deleted: {clean_line(chat.title)}")
    return output.DONE


def _sure(store: Store, chat: Conversation, arguments: argparse.Namespace) -> bool:
    """Ask whether a conversation is to be deleted; without anybody to ask, that is wrong usage."""
    if not (output.is_terminal(0) and output.is_terminal(2)):
        arguments.usage_error("nobody can be asked here: --yes deletes without asking")
    messages = store.branch_length(chat.id)
    print(
        f"Delete “{clean_line(chat.title)}” ({messages} messages, {_when(chat.updated_at)}) for good? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    try:
        return input().strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def _find(store: Store, wanted: str) -> Conversation:
    """Return a conversation by its id, the beginning of it, or "last". Raises StoreError."""
    latest = store.conversations(1)
    if not latest:
        raise StoreError("There are no chats yet", "", 'Begin one: deepseek-tui ask "Why is the sky blue?"')
    return latest[0] if wanted == "last" else store.conversation(wanted)


def _so_far(message: StoredMessage) -> StoredMessage:
    """Return a running answer with what its host has written of it until now."""
    if message.state != "streaming":
        return message
    answer = fold(spool.read(message.id), message.partial)
    return msgspec.structs.replace(message, text=answer.text, reasoning=answer.reasoning)


def _say_head(chat: Conversation, messages: int) -> None:
    output.say(clean_line(chat.title))
    output.say(f"{chat.id} · {_when(chat.created_at)} · {messages} messages")


def _say_message(message: StoredMessage, *, thoughts: bool) -> None:
    who = "You" if message.role == "user" else message.preset or message.role
    parts = [who, backend_title(message.backend) if message.backend else "", _when(message.created_at), _mark(message)]
    if message.context_start is not None:
        output.say("\n── not sent to the model from here up ──")
        if message.context_start:
            output.say(f"In its place, a summary:\n{message.context_start}")
    output.say("\n" + clean_line(" · ".join(part for part in parts if part)))
    if message.reasoning:
        output.say(f"({_thought(message)})")
        if thoughts:
            output.say("<think>\n" + message.reasoning.strip("\n") + "\n</think>\n")
    if message.text:
        output.say(message.text.strip("\n"))
    if message.error is not None:
        for line in (message.error.title, message.error.detail):
            if line:
                output.say(f"! {clean_line(line)}")


def _mark(message: StoredMessage) -> str:
    if message.state == "streaming":
        return "being written"
    if message.state == "done":
        cut = {"length": "ended at the token limit", "context": "ended with the context full"}
        return cut.get(message.reason or "", "")
    return message.state


def _thought(message: StoredMessage) -> str:
    parts = ["thought" + (f" for {table.seconds(message.thought_s)}" if message.thought_s is not None else "")]
    if message.usage is not None and message.usage.reasoning_tokens:
        parts.append(f"{message.usage.reasoning_tokens:,} tokens")
    return " · ".join(parts)


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
