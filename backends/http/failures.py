"""What can go wrong between us and a server, as errors that a person can act on."""

from __future__ import annotations

import html
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from backends.errors import (
    BackendError,
    BadOptions,
    ContextOverflow,
    ModelNotFound,
    OutOfMemory,
    RateLimited,
    ServerError,
    ServerUnreachable,
    Unauthorized,
)

_SHOWN = 300
_OVERFLOW = re.compile(
    r"context[ _]length|context[ _]size|context[ _]window|maximum context|max_(?:model|seq)_len|n_ctx|too many tokens"
    r"|prompt is too long|exceed\w* (?:the )?(?:available |maximum )?context|longer than the (?:model'?s )?context",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"out[ -]of[ -]memory|requires more (?:system )?memory|insufficient (?:v?ram|memory)|cudaMalloc failed"
    r"|failed to allocate|unable to allocate",
    re.IGNORECASE,
)
_TITLE = re.compile(rb"<title[^>]{0,200}>(.{0,2000}?)</title>", re.IGNORECASE | re.DOTALL)
_MARKUP = re.compile(rb"^\s*(?:<!doctype html|<html|<\?xml)", re.IGNORECASE)


class UnknownAddress(ServerError):
    """A server answers, but not at this address."""


def unreachable(error: BaseException, server: str) -> BackendError:
    """Return the error for a line to `server` that could not be opened or broke."""
    import httpx

    causes = list(_causes(error))
    text = _clean(str(error)) or type(error).__name__
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return ServerUnreachable(
            f"The certificate of {server} is not trusted",
            text,
            "If it is your own: deepseek-tui origins add URL --ca-file FILE",
        )
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return ServerUnreachable(f"There is no machine called so: {server}", text, "Check the address in the preset.")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return ServerUnreachable(f"{server} does not answer", "Nothing listens there.", "Start the server, then retry.")
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return ServerUnreachable(
                f"{server} does not answer", "It took too long to connect.", "Is it on, and reachable from here?"
            )
        case httpx.TimeoutException():
            return ServerUnreachable(f"{server} has fallen silent", text, "What was said is kept. Retry asks again.")
        case httpx.UnsupportedProtocol() | httpx.InvalidURL():
            return BadOptions("Not a server's address", text, "Write it like http://127.0.0.1:8000/v1.")
        case httpx.ConnectError():
            return ServerUnreachable(f"{server} cannot be reached", text, "Is it on, and reachable from here?")
        case httpx.RemoteProtocolError() | httpx.ReadError() | httpx.WriteError() | httpx.CloseError():
            return ServerError(
                f"{server} broke off", text, "What was said is kept. If it happens again, its log says why."
            )
        case httpx.DecodingError() | httpx.LocalProtocolError() | httpx.StreamError():
            return ServerError(f"{server} sent what is no answer", text, "Is it the kind of server the preset names?")
    return ServerUnreachable(f"{server} cannot be reached", text, "Is it on, and reachable from here?")


def refusal(
    status: int,
    body: bytes,
    server: str,
    *,
    model: str = "",
    headers: Mapping[str, str] | None = None,
) -> BackendError:
    """Return the error for an answer of `server` that is a refusal: an HTTP status and what it said with it.

    A status below 100 is none: such refusals come in the middle of a stream and are told by their words alone.
    """
    said = message(body)
    if 300 <= status < 400:
        location = _clean((headers or {}).get("location", ""))
        return ServerError(
            f"{server} sends elsewhere",
            f"To {location}." if location else "It does not say where.",
            "It is not followed: your key would go along. If it is right, write that address into the preset.",
        )
    if status in {401, 403}:
        return Unauthorized(
            f"{server} refuses the key" if status == 403 or "key" in said.lower() else f"{server} wants a key",
            said,
            "Give it one: deepseek-tui origins add URL --key",
        )
    if status == 402:
        return RateLimited(f"The account at {server} has nothing left", said, "Top it up, or use another preset.")
    if status == 429:
        wait = _clean((headers or {}).get("retry-after", ""))
        return RateLimited(
            f"{server} wants fewer questions",
            said,
            f"Try again in {wait} s." if wait.isdecimal() else "Try again in a while.",
        )
    if _MEMORY.search(said):
        return OutOfMemory(
            f"{server} has too little memory for this model", said, "Use a smaller model or a smaller context."
        )
    if (status in {400, 413, 422, 500} or status < 100) and _OVERFLOW.search(said):
        return ContextOverflow(
            "The conversation no longer fits into the context",
            said,
            "Go on without its beginning, choose a larger context, or start a new chat.",
        )
    if status == 404:
        if model and (model in said or "model" in said.lower()):
            return ModelNotFound(f"{server} has no model called {model}", said, "Name one that it has in the preset.")
        return UnknownAddress(
            f"{server} does not know this address", said, "Check it in the preset: most servers want /v1 at the end."
        )
    if 400 <= status < 500:
        return BadOptions(f"{server} refuses the question", f"{said} (HTTP {status})", "Mend the preset's options.")
    if status == 503:
        return ServerError(f"{server} is not ready", said, "It may still be loading. Retry in a while.")
    shown = f" (HTTP {status})" if status >= 100 else ""
    return ServerError(f"{server} failed", f"{said}{shown}".strip(), "Retry; if it happens again, its log says why.")


def message(body: bytes) -> str:
    """Return what a refusal says, in one bounded line, whichever dialect it is in."""
    if _MARKUP.match(body):
        title = _TITLE.search(body[:65536])
        text = html.unescape(title[1].decode(errors="replace")) if title else ""
        return _clean(f"It sent a web page: {text}" if text.strip() else "It sent a web page.")
    try:
        return _clean(_said(msgspec.json.decode(body)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _clean(body[:4096].decode(errors="replace"))


def _said(value: Any) -> str:
    """Find the words in decoded JSON: {"error": {"message": …}}, {"error": …}, {"detail": [{"msg": …}]} and so on."""
    match value:
        case str():
            return value
        case {"error": error} if error:
            return _said(error)
        case {"message": text} if text:
            return _said(text)
        case {"detail": detail} if detail:
            return _said(detail)
        case {"msg": text, "loc": ["body", _, *_] as place} if text:
            return f"{'.'.join(map(str, place[1:8]))}: {_said(text)}"
        case {"msg": text} if text:
            return _said(text)
        case list() if value:
            return "; ".join(_said(one) for one in value[:3])
    return str(value)[:4096] if value else ""


def _clean(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text[:4096])
    line = " ".join(printable.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 10:
        yield error
        error, seen = error.__cause__ or error.__context__, seen + 1
