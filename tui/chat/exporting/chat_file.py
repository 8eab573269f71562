"""Our own file of a chat, in JSON: the whole tree of messages with states, figures and receipts. Nothing is lost in it.

Its fields are named here and not taken from the store, so that the store may change and old files still be read.
A file has the lowest version that has all its fields, so that an older program reads what it can.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import msgspec

from backends.errors import ErrorInfo
from backends.events import Cost, Energy, Timings, Usage
from backends.version import VERSION as PROGRAM_VERSION
from tui.chat.asking import Asking
from tui.chat.storing.receipts import Kind, Receipt
from tui.chat.storing.stored import Conversation, State, StoredMessage

FORMAT: Final = "deepseek-tui chat"
MANY: Final = "deepseek-tui chats"
VERSION: Final = 2
"""The latest: it has `asking`, which version 1 has not."""
FIRST: Final = 1
LATEST_S = 253_402_000_000.0
"""The last day, nearly, that a calendar of four digits has, in any time zone."""

Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-zA-Z_-]{1,64}\Z")]
"""An id names files too, so it cannot lead out of a folder."""
Moment = Annotated[float, msgspec.Meta(ge=0, le=LATEST_S)]


class ChatRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The chat itself. Times are Unix seconds."""

    id: Id
    title: str
    created_at: Moment
    updated_at: Moment
    preset: str | None = None
    head: Id | None = None
    pinned_at: Moment | None = None
    archived_at: Moment | None = None
    renamed: bool = False
    asking: Asking | msgspec.UnsetType | None = msgspec.UNSET


class MessageRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One message of the tree; what is not known, or not so, is left out."""

    id: Id
    role: Literal["system", "user", "assistant"]
    created_at: Moment
    parent: Id | None = None
    text: str = ""
    reasoning: str = ""
    state: State = "done"
    reason: str | None = None
    preset: str | None = None
    backend: str | None = None
    model: str | None = None
    finished_at: Moment | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    thought_s: float | None = None
    energy: Energy | None = None
    cost: Cost | None = None
    error: ErrorInfo | None = None
    context_start: str | None = None


class ReceiptRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One receipt: what an answer, or a summary of the chat, took."""

    id: Id
    kind: Kind
    at: Moment
    message: Id | None = None
    preset: str | None = None
    backend: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    output_tokens: int | None = None
    load_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    energy_uj: int | None = None
    idle_uj: int | None = None
    energy: Energy | None = None
    money_nano: int | None = None
    currency: str | None = None
    cost: Cost | None = None


class ChatFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chat with all that belongs to it; a message stands after the one that it answers."""

    format: Literal["deepseek-tui chat"]
    version: Literal[1, 2]
    chat: ChatRecord
    messages: tuple[MessageRecord, ...] = ()
    receipts: tuple[ReceiptRecord, ...] = ()
    program: str = ""


def chat_file(chat: Conversation, messages: Iterable[StoredMessage], receipts: Iterable[Receipt]) -> ChatFile:
    """Return what the store holds of a chat as its file."""
    return ChatFile(
        FORMAT,
        VERSION if chat.asking is not None else FIRST,
        msgspec.structs.replace(_record(ChatRecord, chat), asking=chat.asking or msgspec.UNSET),
        tuple(_record(MessageRecord, one) for one in messages),
        tuple(_record(ReceiptRecord, one) for one in receipts),
        f"deepseek-tui {PROGRAM_VERSION}",
    )


def _record(kind: type[Any], value: msgspec.Struct) -> Any:
    return kind(**{name: getattr(value, name) for name in kind.__struct_fields__})
