"""The protocol's words: what is asked for, and what comes back, in every dialect that is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from backends.base import ChatRequest, Message, Partial, Sampling
from backends.errors import BackendError, ServerError
from backends.http.counting import visible
from backends.http.failures import message, refusal
from backends.openai.flavours import Flavour

_OFF = Sampling()
"""Every further stage at the value that switches it off."""


class Delta(msgspec.Struct):
    """A piece of an answer. The thought has two names: `reasoning_content`, and `reasoning` in newer vLLM."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None

    @property
    def thought(self) -> str:
        return self.reasoning_content or (self.reasoning if isinstance(self.reasoning, str) else "")


class Choice(msgspec.Struct):
    """`delta` in a stream of a chat, `text` in one of plain text, `message` where the server does not stream."""

    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class Counts(msgspec.Struct):
    """A server's `usage`. `prompt_cache_hit_tokens` is DeepSeek's name for what was cached."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: OutputDetails | None = None

    @property
    def cached(self) -> int | None:
        details = self.prompt_tokens_details
        return details.cached_tokens if details is not None else self.prompt_cache_hit_tokens


class Clock(msgspec.Struct):
    """llama-server's `timings`: milliseconds and counts. `cache_n` tokens of the prompt needed no work."""

    cache_n: int | None = None
    prompt_ms: float | None = None
    predicted_n: int | None = None
    predicted_ms: float | None = None


class Chunk(msgspec.Struct):
    """One event of a stream, or a whole answer."""

    choices: list[Choice] = []
    usage: Counts | None = None
    timings: Clock | None = None
    error: Any = None


WHOLE_LIMIT = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_chunks = msgspec.json.Decoder(Chunk)


def chunks(lines: Iterable[bytes], server: str) -> Iterator[Chunk]:
    """Yield what the lines of an event stream say; a reply that is no stream but one JSON object is one chunk.

    Ends at "[DONE]". Raises BackendError for an error that the server tells in between, for garbage, and for an object
    without an end.
    """
    plain: list[bytes] = []
    size = 0
    for number, raw in enumerate(lines):
        line = raw.removeprefix(_BOM) if not number else raw
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            if data:
                yield _chunk(data, server)
        elif line.lstrip()[:1] in {b"{", b"<"} or plain:
            plain.append(line)
            size += len(line) + 1
            if size > WHOLE_LIMIT:
                raise garbage(plain[0], server)
        elif line.startswith(b"error:"):  # llama-server's way until September 2025
            raise refusal(0, line[6:], server)
        elif not line.startswith((b":", b"event:", b"id:", b"retry:")) and line.strip():
            raise garbage(line, server)
    if plain:
        yield _chunk(b"\n".join(plain), server)


def _chunk(data: bytes, server: str) -> Chunk:
    try:
        chunk = _chunks.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise garbage(data, server) from error
    if chunk.error:
        code = chunk.error.get("code") if isinstance(chunk.error, dict) else None
        raise refusal(code if isinstance(code, int) and code >= 400 else 0, data, server)
    return chunk


def garbage(data: bytes, server: str) -> BackendError:
    """Return the error for what is no answer of this protocol."""
    return ServerError(
        f"{server} sent what is no answer",
        message(data[:4096]),
        "Is it an OpenAI-compatible server, and does base_url end as it wants (mostly /v1)?",
    )


def sampling_fields(sampling: Sampling, flavour: Flavour) -> dict[str, Any]:
    """Return the fields for how tokens are chosen: the common ones, and those of the further stages.

    Also of stages that are off: llama-server and LM Studio have defaults of their own for them, vLLM takes the model's.
    """
    fields: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.max_tokens is not None:
        fields["max_tokens"] = sampling.max_tokens
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.seed is not None and flavour.seed:
        fields["seed"] = sampling.seed
    for name in ("frequency_penalty", "presence_penalty"):
        if value := getattr(sampling, name):
            fields[name] = value
    for name, theirs in flavour.samplers.items():
        if not name.startswith("dry_") or sampling.dry_multiplier:
            fields[theirs] = getattr(sampling, name)
    if "top_k" in fields:
        fields["top_k"] = sampling.top_k or flavour.every_token
    return fields


def ignored(sampling: Sampling, flavour: Flavour) -> tuple[str, ...]:
    """Return which wishes this kind of server takes no notice of."""
    names = ["top_k", "min_p", "repeat_penalty", "dry_multiplier"]
    wishes = [name for name in names if name not in flavour.samplers and getattr(sampling, name) != getattr(_OFF, name)]
    return (*wishes, *(["seed"] if sampling.seed is not None and not flavour.seed else []))


def chat_messages(request: ChatRequest) -> list[dict[str, str]]:
    """Return the conversation, without the thoughts of earlier answers."""
    return [{"role": one.role, "content": visible(one)} for one in request.messages]


def unfinished(partial: Partial | None) -> Partial | None:
    """Return what there is to go on with, None if nothing was said yet."""
    return partial if partial is not None and (partial.text or partial.reasoning or partial.thinking) else None


def as_dicts(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Return messages as the protocol writes them."""
    return [{"role": one.role, "content": visible(one)} for one in messages]
