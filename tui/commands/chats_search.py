"""`chats search`: what was said and thought, found by its words."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from tui.chat.clean import clean_line
from tui.chat.exporting.plain_text import when
from tui.chat.searching import search
from tui.chat.searching.search import Hit
from tui.chat.storing import paging
from tui.chat.storing.store import Store
from tui.commands import chats_find, output, table

LIMIT = 20
_STEP_S = 1.0
_WHO = {"user": "you", "assistant": "answer", "system": "system", None: "title"}


def configure(actions: Any) -> None:
    """Add `search`."""
    searching = chats_find.add_action(actions, "search", "messages by their words, newest first", _search)
    searching.add_argument(
        "words", metavar="WORD", nargs="+", help='all of them, or their beginnings; "…" in quotes is a phrase'
    )
    searching.add_argument("--chat", metavar="ID", help="in one conversation only")
    searching.add_argument("--limit", type=chats_find.positive, default=LIMIT, metavar="N", help=f"at most N ({LIMIT})")


def _search(arguments: argparse.Namespace) -> int:
    with chats_find.opened() as store:
        chat = paging.named(store, arguments.chat).id if arguments.chat else None
        _index(store)
        found = search.search(store, " ".join(arguments.words), arguments.limit + 1, chat=chat)
    hits, more = found[: arguments.limit], len(found) > arguments.limit
    if arguments.json:
        output.say_json({"hits": [msgspec.structs.asdict(hit) for hit in hits], "more": more})
        return output.DONE
    if not hits:
        output.say("Nothing was found.")
    for hit in hits:
        _say(hit)
    if more:
        output.say("There is more: deepseek-tui chats search --limit N …")
    return output.DONE


def _index(store: Store) -> None:
    """Index all that is not indexed yet: somebody who waits for an answer is told, and gets the whole one."""
    told = False
    while not search.catch_up(store, _STEP_S):
        if not told:
            output.warn("Reading what was said before there was a search; this happens once …")
        told = True


def _say(hit: Hit) -> None:
    who = "thought" if hit.where == "reasoning" else _WHO[hit.role]
    head = f"{hit.conversation[: chats_find.ID_DIGITS]}  {when(hit.at)}  {clean_line(hit.title)}"
    wide = table.width()
    output.say(head if wide is None else table.fitted(head, wide))
    message = f" {hit.message[: chats_find.ID_DIGITS]}" if hit.message else ""
    output.say(f"    {who}{message}: {clean_line(hit.snippet)}")
