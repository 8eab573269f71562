"""What the store holds, as values: conversations, messages, and how a message's row is read and written."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from backends.base import Partial
from backends.errors import ErrorInfo, Problem
from backends.events import Cost, Energy, Timings, Usage
from tui.chat.asking import Asking

TITLE_CHARACTERS = 60

State = Literal["streaming", "done", "stopped", "interrupted", "failed"]


class StoreError(Problem):
    """The conversations cannot be read or written."""


class Conversation(msgspec.Struct, frozen=True):
    """One conversation. Times are Unix seconds; `head` is the last message of the branch shown, None without any.

    `renamed` says that its title is not the first line of its first question. `asking` is what it asks of its model;
    `asking_lost` says that this cannot be read any more.
    """

    id: str
    title: str
    created_at: float
    updated_at: float
    preset: str | None
    head: str | None
    pinned_at: float | None = None
    archived_at: float | None = None
    deleted_at: float | None = None
    renamed: bool = False
    asking: Asking | None = None
    asking_lost: bool = False


class StoredMessage(msgspec.Struct, frozen=True):
    """One message of the tree. `reason` is why an answer ended; figures are None where unknown.

    `context_start` says that sending to the model begins here: with the summary that stands for what came before, or
    "" if nothing does; None where it does not begin here. `deleted_at` is when it was thrown away, None if it was not.
    """

    id: str
    conversation: str
    parent: str | None
    role: Literal["system", "user", "assistant"]
    text: str
    reasoning: str
    state: State
    reason: str | None
    preset: str | None
    backend: str | None
    model: str | None
    created_at: float
    finished_at: float | None
    usage: Usage | None
    timings: Timings | None
    thought_s: float | None
    energy: Energy | None
    cost: Cost | None
    error: ErrorInfo | None
    context_start: str | None = None
    deleted_at: float | None = None

    @property
    def partial(self) -> Partial | None:
        """What of this answer there is, to go on with; None if there is nothing."""
        if not (self.text or self.reasoning):
            return None
        return Partial(self.reasoning, self.text, thinking=bool(self.reasoning) and not self.text)


class Asked(msgspec.Struct, frozen=True):
    """Who is to answer: what `begin` writes into the answer's row."""

    preset: str
    backend: str
    model: str


ASKING = "asking"
FIGURES: Mapping[str, msgspec.json.Decoder[Any]] = {
    ASKING: msgspec.json.Decoder(Asking),
    "usage": msgspec.json.Decoder(Usage),
    "timings": msgspec.json.Decoder(Timings),
    "energy": msgspec.json.Decoder(Energy),
    "cost": msgspec.json.Decoder(Cost),
    "error": msgspec.json.Decoder(ErrorInfo),
}
"""The columns that hold JSON."""
_PLACES = [(StoredMessage.__struct_fields__.index(name), name) for name in FIGURES if name != ASKING]


readable = functools.partial(str, encoding="utf-8", errors="replace")
"""A connection's `text_factory`: a fault of the disk costs one character, not the chat, or the list, that it is in."""


def new_id() -> str:
    """Return an id that no other client makes: 24 hexadecimal digits."""
    return os.urandom(12).hex()


def title_from(text: str) -> str:
    """Return a conversation's first title: the question's first line, shortened."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "New chat")
    return first if len(first) <= TITLE_CHARACTERS else first[: TITLE_CHARACTERS - 1].rstrip() + "…"


def store_error(path: Path, error: sqlite3.DatabaseError) -> StoreError:
    text = str(error)
    if "locked" in text:
        hint = "Another program holds the database; end it and try again."
    elif "full" in text:
        hint = "Make room on the disk; nothing already saved is lost."
    elif "malformed" in text or "not a database" in text:
        hint = "Keep a copy of the file; `deepseek-tui chats repair` saves what can be read of it."
    elif "readonly" in text:
        hint = "Check the owner and the permissions of the file and its folder."
    else:
        hint = "Nothing already saved is lost. Try again."
    return StoreError("The conversations cannot be used", f"{path}: {text}", hint)


def conversation_of(row: sqlite3.Row) -> Conversation:
    values = dict(row)
    kept = values[ASKING]
    asking = None if kept is None else figures(ASKING, kept)
    lost = kept is not None and asking is None
    return Conversation(**{**values, "renamed": bool(values["renamed"]), ASKING: asking, "asking_lost": lost})


def message_of(row: sqlite3.Row) -> StoredMessage:
    """Return the message that a row of `SELECT message.*` holds: its columns are in the order of the fields."""
    values = list(row)
    for place, name in _PLACES:
        if values[place] is not None:
            values[place] = figures(name, values[place])
    return StoredMessage(*values)


def figures(name: str, kept: str | bytes) -> Any:
    """Return what a column of JSON holds, None if a fault of the disk has left none: it costs nobody the words."""
    try:
        return FIGURES[name].decode(kept)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def storable(text: str) -> str:
    """Return `text` as UTF-8 can hold it: lone surrogates (undecodable bytes of a command line) become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def kept_asking(asking: Asking | None) -> str | None:
    """Return what a chat asks of its model as its column holds it: None where it asks nothing."""
    if asking is None or not asking.names:
        return None
    return json_or_none(msgspec.structs.replace(asking, system=storable(asking.system)))


def json_or_none(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
