"""What the job tells the process that quantises, and what that answers: one JSON value a line."""

from __future__ import annotations

from typing import Literal

import msgspec


class Task(msgspec.Struct, frozen=True):
    """The first line. `types` holds the name of ggml for every tensor that is to get one, by the tensor's name.

    `file_type` is llama_ftype of llama.h. `weighed` are the tensors whose entries of the importance matrix are used.
    `keys` go into the metadata of the result, 127 bytes each at most. `parent` is the process with which this one ends.
    """

    source: str
    part: str
    file_type: int
    types: dict[str, str]
    threads: int
    parent: int
    importance: str = ""
    weighed: tuple[str, ...] = ()
    requantize: bool = False
    keys: dict[str, str] = {}


class Order(msgspec.Struct, frozen=True, tag="order"):
    """The names of all tensors, as the engine will go through them. Comes first."""

    names: tuple[str, ...]


class At(msgspec.Struct, frozen=True, tag="at"):
    """The engine begins with the tensor that has this place in the order."""

    place: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It came to nothing, in the words of whoever says so."""

    cause: Literal["missing", "differs", "importance", "engine"]
    words: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The file is written."""


Message = Order | At | Failed | Done

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def decode(line: bytes) -> Message | None:
    """Return what a line says, None for anything else that came through the pipe."""
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
