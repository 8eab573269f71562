"""Ollama's words: what is asked for, and what its lines say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from backends.base import Sampling
from backends.errors import ServerError

_SHOWN = 200
_LAST_N = 64
_TOO_LONG = re.compile(rb"request \((\d{1,12}) tokens\) exceeds the available context size \((\d{1,12}) tokens\)")


class ChunkMessage(msgspec.Struct):
    """A piece of an answer. `thinking` is what the server itself takes for a thought."""

    content: str | None = None
    thinking: str | None = None


class Chunk(msgspec.Struct):
    """One line of an answer: `message` from a chat, `response` from a raw prompt. Durations are in nanoseconds.

    `prompt_eval_count` includes tokens that were in the cache, `prompt_eval_duration` is that of the others.
    """

    message: ChunkMessage | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool = False
    done_reason: str | None = None
    error: Any = None
    status: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None

    @property
    def said(self) -> str:
        """The answer's text."""
        return (self.message.content if self.message is not None else self.response) or ""

    @property
    def thought(self) -> str:
        """What the server takes for a thought."""
        return (self.message.thinking if self.message is not None else self.thinking) or ""


_decoder = msgspec.json.Decoder(Chunk)


def read_chunk(line: bytes, server: str) -> Chunk:
    """Raises ServerError for a line that is none of Ollama's."""
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise garbage(line, server) from error


def engine_error(body: bytes) -> bytes:
    """Return what the engine behind the server said, where its own JSON is quoted inside the server's."""
    try:
        inner = msgspec.json.decode(body, type=dict[str, Any]).get("error")
    except msgspec.MsgspecError:
        inner = body.decode(errors="replace")
    return inner.encode(errors="replace") if isinstance(inner, str) and inner.startswith("{") else body


def too_long(body: bytes) -> tuple[int, int] | None:
    """Return the prompt's tokens and the context's if the engine refused a prompt for its length."""
    found = _TOO_LONG.search(body)
    return (int(found[1]), int(found[2])) if found else None


def garbage(what: bytes, server: str) -> ServerError:
    """Return the error for an answer that is not Ollama's."""
    shown = what[:_SHOWN].decode(errors="replace").strip()
    return ServerError(
        "The server's answer makes no sense",
        f"{server} sent: {shown}{' …' if len(what) > _SHOWN else ''}",
        "Is it an Ollama server? `host` in the preset, or OLLAMA_HOST, says where it is.",
    )


def sampling_options(sampling: Sampling, stops: Sequence[str]) -> dict[str, Any]:
    """Return how tokens are chosen in Ollama's words: all of it, so that no default of the model slips in.

    `stops` are the model's own stop strings: ours would replace them.
    """
    said: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "typical_p": 1.0,
        "repeat_penalty": sampling.repeat_penalty,
        "repeat_last_n": _LAST_N,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "seed": -1 if sampling.seed is None else sampling.seed,
        "num_predict": -1 if sampling.max_tokens is None else sampling.max_tokens,
    }
    if sampling.stop:
        said["stop"] = [*stops, *(stop for stop in sampling.stop if stop not in stops)]
    return said


def own_stops(parameters: str) -> tuple[str, ...]:
    """Return the stop strings of a model from the parameters that `show` lists, one a line: name and quoted value."""
    found = []
    for line in parameters.splitlines():
        name, _, value = line.strip().partition(" ")
        if name == "stop":
            try:
                found.append(msgspec.json.decode(value.strip(), type=str))
            except msgspec.MsgspecError:
                found.append(value.strip().strip('"'))
    return tuple(found)
