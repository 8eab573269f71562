"""What the process with the engine is told, and what it says: a JSON object on standard input, and one a line back."""

from __future__ import annotations

from typing import Literal

import msgspec

from backends.errors import ErrorInfo

Action = Literal["look", "base", "compare"]


class Request(msgspec.Struct, frozen=True):
    """One pass over some chunks with one model.

    "look" reads no weights and splits `text` into tokens. "base" writes a row for each scored token of `chunks` into
    the file open at `rows`, from the byte `rows_at` on; "compare" reads them from there.
    """

    action: Action
    model: str
    text: str = ""
    chunks: tuple[tuple[int, ...], ...] = ()
    context: int = 0
    rows: int = -1
    rows_at: int = 0


class Looked(msgspec.Struct, frozen=True, tag="looked"):
    """A model's vocabulary, the names of its tokens in order, and the tokens of the text."""

    names: list[str]
    tokens: list[int]


class Loading(msgspec.Struct, frozen=True, tag="loading"):
    """How much of the model is loaded, None where the engine does not say."""

    fraction: float | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The model is loaded. `device` says in a few words where it runs."""

    device: str


class Based(msgspec.Struct, frozen=True, tag="based"):
    """A chunk's rows are written. `chunk` counts those of the request; for `nll` and `top` see `logprobs.Chosen`."""

    chunk: int
    nll: list[float]
    top: list[int]


class Compared(msgspec.Struct, frozen=True, tag="compared"):
    """A chunk is compared: `base_nll` and `base_top` are as its rows have them, so rounded."""

    chunk: int
    kld: list[float]
    nll: list[float]
    top: list[int]
    base_nll: list[float]
    base_top: list[int]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The pass ends here."""

    error: ErrorInfo


Said = Looked | Loading | Ready | Based | Compared | Failed
