"""Load and ask the OpenAI backend against a scripted server, in a line or two."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec

from backends.base import Message
from backends.errors import BackendError
from backends.openai import OpenAIBackend
from backends.openai.options import OpenAIOptions
from tests.backends import talk
from tests.backends.fake_openai import FakeOpenAI, Handler
from tests.backends.talk import HELLO, Answer, failing, later, until

__all__ = [
    "HELLO", "HTML", "LONG_TALK", "Answer", "Said", "Talk", "asked", "begun", "failed", "last", "later", "on_chat",
    "on_path", "options", "piece", "refuse", "script", "serving", "thought", "until",
]  # fmt: skip

HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>"
LONG_TALK = (Message("user", "a word and another " * 200),)
Said = Callable[[Handler], None]


class Talk(talk.Talk):
    """The OpenAI backend with a model of `server` in use. Use it in a `with` block."""

    def __init__(self, server: FakeOpenAI, model: str = "tiny", **fields: Any) -> None:
        self.server = server
        super().__init__(OpenAIBackend(), model, options(server, **fields))


def options(server: FakeOpenAI, **fields: Any) -> OpenAIOptions:
    """What a preset would say about `server`."""
    return msgspec.convert({"base_url": server.url, **fields}, OpenAIOptions)


def serving(kind: str = "plain", said: str = "It is what it is.", **fields: Any) -> FakeOpenAI:
    """A server with one model, `tiny`, that says this to everything."""
    server = FakeOpenAI(kind, **fields)
    server.models["tiny"] = lambda _question: said
    return server


def failed(server: FakeOpenAI, model: str = "tiny", **fields: Any) -> BackendError:
    """Load what cannot be loaded; return the error."""
    try:
        Talk(server, model, **fields).load()
    except BackendError as error:
        return error
    raise AssertionError(f"{model} was loaded")


def piece(text: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    """An event with a piece of the answer."""
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more}


def thought(text: str, name: str = "reasoning_content") -> dict[str, Any]:
    """An event with a piece of what the server calls a thought."""
    return {"choices": [{"index": 0, "delta": {name: text}, "finish_reason": None}]}


def last(finish: str = "stop", **more: Any) -> dict[str, Any]:
    """The event that ends an answer."""
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], **more}


def script(server: FakeOpenAI, *events: dict[str, Any] | bytes) -> None:
    """Answer each question with these events; bytes are sent as they are."""

    def say(handler: Handler) -> None:
        handler.begin()
        for event in events:
            if isinstance(event, bytes):
                handler.data(event)
            else:
                handler.send(event)
        handler.data(b"data: [DONE]\n\n")
        handler.end()

    on_path(server, "/completions", say)


def on_path(server: FakeOpenAI, ending: str, say: Said) -> None:
    """Let each request to such an address be answered so."""

    def fault(handler: Handler, path: str, _body: dict[str, Any]) -> bool:
        if path.endswith(ending):
            say(handler)
        return path.endswith(ending)

    server.fault = fault


def on_chat(server: FakeOpenAI, say: Said) -> None:
    """Let the first question go wrong; those after it are answered."""
    broken = threading.Event()

    def fault(handler: Handler, path: str, _body: dict[str, Any]) -> bool:
        if not path.endswith("/completions") or broken.is_set():
            return False
        broken.set()
        say(handler)
        return True

    server.fault = fault


def asked(server: FakeOpenAI, say: Said, **fields: Any) -> tuple[Answer, BackendError]:
    """Let the first chat go wrong, and return what came of it."""
    on_chat(server, say)
    with Talk(server, **fields) as session:
        return failing(session)


def begun(handler: Handler) -> None:
    """Begin an answer: two words of it."""
    handler.begin()
    for word in ("One", " two"):
        handler.send(piece(word))


def refuse(status: int, body: Any, kind: str = "application/json", **headers: str) -> Said:
    return lambda handler: handler.reply(status, body, kind, **headers)
