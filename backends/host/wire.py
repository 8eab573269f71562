"""What a host and its clients say to each other: one JSON message a line over a Unix socket.

The same encoded line of an answer's record goes to the socket and into the spool.
`Hello`, `Welcome` and `Shutdown` never change, so that any two versions can part in peace.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from backends.base import ChatRequest, Loaded, Message
from backends.errors import ErrorInfo
from backends.events import Done, Io, LoadProgress, Metered, PromptProgress, Reasoning, Text
from backends.fitting import Fit

PROTOCOL = 1
MAX_LINE_BYTES = 64 * 1024 * 1024
KEEP_ALIVE_S = 300.0
LOAD_STOPPED = "cancelled"
"""The kind of a `Status.error` that no failure caused: loading was stopped."""

Phase = Literal["loading", "idle", "prefill", "decode", "failed", "ending"]


class HostSpec(msgspec.Struct, frozen=True):
    """What one host runs. Two clients with the same backend, model and options share the host.

    `drain_s` is how long a stopped engine may hold up the next request before its process is ended. `preset` is under
    whose name the first client asked for it: for the bill, not for what is run.
    """

    backend: str
    model: str
    options: dict[str, Any]
    title: str
    build: str
    keep_alive_s: float = KEEP_ALIVE_S
    drain_s: float = 10.0
    preset: str = ""


# Client to host.


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First line of every connection."""

    protocol: int
    build: str


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """End the host: only if it is idle, unless `force`."""

    force: bool = False


class Chat(msgspec.Struct, frozen=True, tag="chat"):
    """Answer `request` under the id `answer`. If `spooled`, the locked spool's descriptor travels with this line."""

    answer: str
    request: ChatRequest
    spooled: bool = False


class Attach(msgspec.Struct, frozen=True, tag="attach"):
    """Send the records of an answer from number `start` on, those to come included."""

    answer: str
    start: int = 0


class StopAnswer(msgspec.Struct, frozen=True, tag="stop_answer"):
    """Stop an answer that runs or waits in line."""

    answer: str


class StopLoad(msgspec.Struct, frozen=True, tag="stop_load"):
    """Give up loading, unless another client waits for the same model."""


class AnswerNow(msgspec.Struct, frozen=True, tag="answer_now"):
    """Let an answer close its thought and say what it has. Does nothing where there is no thought to close."""

    answer: str


class CountTokens(msgspec.Struct, frozen=True, tag="count"):
    """Count a conversation's prompt tokens; answered by `Counted` with the same `id` when the engine is free."""

    id: int
    messages: tuple[Message, ...]


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """The conversation `chat` was deleted: keep no state of it; answered by `Counted` without a fit."""

    id: int
    chat: str


Request = Hello | Shutdown | Chat | Attach | StopAnswer | StopLoad | AnswerNow | CountTokens | Forget


# Host to client.


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The answer to `Hello`."""

    protocol: int
    build: str
    pid: int
    key: str
    backend: str
    model: str
    title: str


class Status(msgspec.Struct, frozen=True, tag="status"):
    """What the host is doing; sent after `Welcome` and at each change.

    `answer` is the one being generated, `waiting` are those in line behind it, `unsaved` those that are over and whose
    end the disk still refuses.
    `idle_s` is how long it has been idle, `ends_in_s` when it will end if nobody comes. `io` is what the answer that
    runs, or else the last one, has moved.
    """

    phase: Phase
    loaded: Loaded | None = None
    load: LoadProgress | None = None
    answer: str | None = None
    waiting: tuple[str, ...] = ()
    clients: int = 0
    idle_s: float | None = None
    ends_in_s: float | None = None
    error: ErrorInfo | None = None
    unsaved: tuple[str, ...] = ()
    io: Io | None = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The end of an answer that an error cut off. What was generated before it stays."""

    error: ErrorInfo


AnswerEvent = PromptProgress | Reasoning | Text | Metered | Done | Failed


class Record(msgspec.Struct, frozen=True, tag="record"):
    """One event of an answer. `seq` counts from 0 without gaps; `at_s` is seconds since the host took the request."""

    answer: str
    seq: int
    at_s: float
    event: AnswerEvent

    @property
    def final(self) -> bool:
        return isinstance(self.event, Done | Failed)


class AnyRecord(msgspec.Struct, frozen=True, tag="record"):
    """A record of whichever version: what happened may be in words unknown here."""

    answer: str
    seq: int
    at_s: float
    event: dict[str, Any]


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """The answer to `CountTokens`, and without `fit` to `Forget`."""

    id: int
    fit: Fit | None = None
    error: ErrorInfo | None = None


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The host cannot do what was asked: an unknown answer, a busy host, a line it does not understand."""

    error: ErrorInfo
    answer: str | None = None


class Unsaved(msgspec.Struct, frozen=True, tag="unsaved"):
    """Whether the spool of an answer can be written at the moment; `detail` says why not."""

    answer: str
    detail: str


Reply = Welcome | Status | Record | Counted | Refused | Unsaved

_encoder = msgspec.json.Encoder()
_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)
_records = msgspec.json.Decoder(Record)
_any_records = msgspec.json.Decoder(AnyRecord)


def encode(message: Request | Reply) -> bytes:
    """Return one line, newline included. JSON escapes newlines in strings, so a line is a message."""
    return _encoder.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """Raises msgspec.MsgspecError for a line that is no request of this protocol."""
    return _requests.decode(line)


def decode_reply(line: bytes) -> Reply:
    """Raises msgspec.MsgspecError for a line that is no reply of this protocol."""
    return _replies.decode(line)


def decode_record(line: bytes) -> Record | AnyRecord:
    """Return a record, as AnyRecord where its event is of another version.

    Raises msgspec.MsgspecError, UnicodeDecodeError or RecursionError for a line that is no record.
    """
    try:
        return _records.decode(line)
    except msgspec.ValidationError:
        return _any_records.decode(line)
