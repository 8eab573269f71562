"""A chat as it leaves: gathered whole or one branch of it, and written as JSON. Nothing here changes the store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from backends.host import spool
from backends.shown import printable
from tui.chat.answer import fold
from tui.chat.clean import HARMFUL
from tui.chat.exporting import chat_file
from tui.chat.storing.receipts import Receipt
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation, StoredMessage, StoreError, message_of

Form = Literal["markdown", "text", "json", "jsonl"]
_TRIES = 5


class Exported(msgspec.Struct, frozen=True):
    """A chat as it is to be written. `messages` are in the order in which they were made, a parent before its answers.

    `others` counts the messages of the chat that are left out because they stand in other branches.
    """

    chat: Conversation
    messages: tuple[StoredMessage, ...]
    receipts: tuple[Receipt, ...]
    others: int = 0


def gather(store: Store, conversation: str) -> Exported:
    """Return a whole chat by its id; running answers as far as they are. Raises StoreError.

    What was thrown away is not in it.
    """
    chat = store.conversation(conversation)
    for _ in range(_TRIES):
        rows = store.rows("SELECT * FROM message WHERE conversation = ? AND deleted_at IS NULL ORDER BY rowid", chat.id)
        messages = tuple(so_far(message_of(row)) for row in rows)
        paid = store.receipts_of(chat.id)
        again = store.conversation(chat.id)
        # Read without holding up who writes: what has changed meanwhile is read again.
        if again == chat:
            break
        chat = again
    ids = {message.id for message in messages}
    # What was thrown away was paid too.
    kept = (one if one.message in ids else msgspec.structs.replace(one, message=None) for one in paid)
    return Exported(chat, messages, tuple(kept))


def so_far(message: StoredMessage) -> StoredMessage:
    """Return a running answer with what its host has written of it until now; any other message as it is."""
    if message.state != "streaming":
        return message
    answer = fold(spool.read(message.id), message.partial)
    return msgspec.structs.replace(message, text=answer.text, reasoning=answer.reasoning)


def branch(exported: Exported, last: str | None = None) -> Exported:
    """Return one branch alone: that which is shown, or that which ends with the message `last`, an id or its beginning.

    Of the receipts, those of its messages stay. Raises StoreError.
    """
    end = exported.chat.head if last is None else _found(exported, last).id
    by_id = {message.id: message for message in exported.messages}
    kept: dict[str, None] = {}
    while end is not None and end in by_id and end not in kept:
        kept[end] = None
        end = by_id[end].parent
    messages = tuple(by_id[one] for one in reversed(kept))
    return Exported(
        msgspec.structs.replace(exported.chat, head=messages[-1].id if messages else None),
        messages,
        tuple(one for one in exported.receipts if one.message in kept),
        len(exported.messages) - len(messages),
    )


def ends(exported: Exported) -> list[StoredMessage]:
    """Return the message that each branch ends with, the newest first."""
    answered = {message.parent for message in exported.messages}
    return [message for message in reversed(exported.messages) if message.id not in answered]


def as_json(exported: Exported) -> str:
    """Return a chat as a file of JSON that a person can look into."""
    encoded = msgspec.json.encode(chat_file.chat_file(exported.chat, exported.messages, exported.receipts))
    return _harmless(msgspec.json.format(encoded, indent=2)) + "\n"


def as_json_line(exported: Exported) -> str:
    """Return a chat as one line of JSON."""
    return (
        _harmless(msgspec.json.encode(chat_file.chat_file(exported.chat, exported.messages, exported.receipts))) + "\n"
    )


def as_json_stream(chats: Iterable[Exported]) -> Iterator[str]:
    """Yield the pieces of one JSON object that holds many chats."""
    yield f'{{"format": "{chat_file.MANY}", "version": {chat_file.FIRST}, "chats": ['
    between = "\n"
    for one in chats:
        yield between + as_json_line(one).rstrip("\n")
        between = ",\n"
    yield "\n]}\n"


def _harmless(encoded: bytes) -> str:
    """Return JSON in which nothing steers a terminal. All such characters stand inside its strings."""
    return HARMFUL.sub(_escape, encoded.decode())


def _escape(match: re.Match[str]) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in match[0])


def _found(exported: Exported, wanted: str) -> StoredMessage:
    found = [message for message in exported.messages if wanted and message.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    raise StoreError(
        "More than one message begins so" if found else "There is no such message in this chat",
        repr(printable(wanted)),
        f"`deepseek-tui chats show {exported.chat.id[:8]} --branches` shows with which messages they end.",
    )
