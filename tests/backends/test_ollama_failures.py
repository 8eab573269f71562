"""Whatever an Ollama server does wrong is a typed error, what was said is kept, and the next question works."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backends.base import Cancel, Cancelled
from backends.errors import (
    BackendError,
    ContextOverflow,
    ModelNotFound,
    OutOfMemory,
    RateLimited,
    ServerError,
    ServerUnreachable,
    Unauthorized,
)
from backends.http import client
from backends.ollama import OllamaBackend, OllamaOptions, connection
from tests.backends.fake_ollama import FakeModel, FakeOllama, Handler, said_in
from tests.backends.ollama_talk import Answer, Talk, failed, later, serving
from tests.backends.talk import failing

HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>"
ENDED = "llama-server process has terminated"
OOM = {"error": "llama-server process has terminated: error: out-of-memory during startup: cudaMalloc failed"}
TOO_LONG = {"error": '{"error":{"message":"request (9000 tokens) exceeds the available context size (4096 tokens)"}}'}
NONSENSE = [b"[]", b"null", b"7", b'{"models": 7}', b'{"models": [7]}', b"{", b'{"model_info": []}']
Said = Callable[[Handler], None]


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    yield from serving(tiny=FakeModel())


def on_chat(server: FakeOllama, say: Said) -> None:
    """Let the first chat go wrong; those after it are answered."""
    broken = threading.Event()

    def fault(handler: Handler, path: str, body: dict[str, Any]) -> bool:
        if path != "/api/chat" or not body.get("messages") or broken.is_set():
            return False
        broken.set()
        say(handler)
        return True

    server.fault = fault


def on_load(server: FakeOllama, say: Said) -> None:
    def fault(handler: Handler, path: str, body: dict[str, Any]) -> bool:
        if path != "/api/chat" or body.get("messages"):
            return False
        say(handler)
        return True

    server.fault = fault


def asked(server: FakeOllama, say: Said) -> tuple[Answer, BackendError]:
    """Let the first chat go wrong, and return what came of it."""
    on_chat(server, say)
    with Talk(server) as session:
        return failing(session)


def begun(handler: Handler) -> None:
    handler.begin()
    for word in ("One", " two"):
        handler.line(said_in(False, "", word))


def refuse(status: int, body: Any, kind: str = "application/json", **headers: str) -> Said:
    return lambda handler: handler.reply(status, body, kind, **headers)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": "unauthorized"}, Unauthorized),
        (404, {"error": "model 'tiny' not found"}, ModelNotFound),
        (429, {"error": "too many requests"}, RateLimited),
        (400, TOO_LONG, ContextOverflow),
        (500, OOM, OutOfMemory),
        (500, {"error": f"{ENDED}: exit status 1: ggml_aligned_malloc: insufficient memory"}, OutOfMemory),
        (500, {"error": f"{ENDED}: error loading model: unable to allocate CPU buffer"}, OutOfMemory),
        (500, {"error": f"{ENDED}: GGML_ASSERT(galloc->node_allocs != NULL) failed"}, OutOfMemory),
        (400, {"error": "the input length exceeds the context length"}, ContextOverflow),
        (500, {"error": "llama-server process has terminated: exit status 2"}, ServerError),
        (500, {"error": ["not", "text"]}, ServerError),
        (503, {"error": "server busy, please try again.  maximum pending requests exceeded"}, BackendError),
        (502, HTML, ServerError),
        (500, b"", ServerError),
        (500, b"\xff\xfe\x00", ServerError),
    ],
)  # fmt: skip
def test_a_refusal_is_typed(server: FakeOllama, status: int, body: Any, kind: type[BackendError]) -> None:
    _, error = asked(server, refuse(status, body))
    assert isinstance(error, kind)


def test_too_little_memory_for_a_model_is_said_at_load(server: FakeOllama) -> None:
    on_load(server, refuse(500, OOM))
    assert isinstance(failed(server), OutOfMemory)


def test_a_page_where_a_version_should_be_is_no_ollama_server(server: FakeOllama) -> None:
    def fault(handler: Handler, _path: str, _body: dict[str, Any]) -> bool:
        handler.reply(200, HTML, "text/html")
        return True

    server.fault = fault
    error = failed(server)
    assert isinstance(error, ServerError)
    assert "OLLAMA_HOST" in error.hint


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"7", b'{"models": 7}', b'{"models": [7]}', b"{", b'{"model_info": []}']
)
@pytest.mark.parametrize("path", ["/api/version", "/api/show", "/api/ps"])
def test_nonsense_about_a_model_is_a_server_error(server: FakeOllama, path: str, body: bytes) -> None:
    def fault(handler: Handler, where: str, _body: dict[str, Any]) -> bool:
        if where == path:
            handler.reply(200, body)
        return where == path

    server.fault = fault
    assert isinstance(failed(server), ServerError)


def test_a_redirect_is_an_error_and_is_not_followed(server: FakeOllama) -> None:
    with FakeOllama() as elsewhere:
        asked(server, refuse(302, b"", Location=f"{elsewhere.url}/api/chat"))
        assert elsewhere.asked == []


def test_a_redirect_at_load_is_an_error_and_is_not_followed(server: FakeOllama) -> None:
    with FakeOllama() as elsewhere:

        def fault(handler: Handler, path: str, _body: dict[str, Any]) -> bool:
            handler.reply(307, b"", Location=f"{elsewhere.url}{path}")
            return True

        server.fault = fault
        assert isinstance(failed(server), BackendError)
        assert elsewhere.asked == []


def test_a_server_that_dies_in_mid_answer_leaves_what_was_said(server: FakeOllama) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.die()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerError | ServerUnreachable)


def test_a_server_that_dies_in_mid_line_leaves_what_was_said(server: FakeOllama) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.data(b'{"message": {"role": "assist')
        handler.die()

    answer, _ = asked(server, say)
    assert answer.text == "One two"


@pytest.mark.parametrize(
    "line",
    [b"garbage", b'{"message": {"con', b"[]", b"7", b"\xff\xfe", b'{"message": "text"}', b'{"done": "yes"}', HTML,
     b'{"message": {"content": 7}}', b'{"eval_count": "many"}'],
)  # fmt: skip
def test_garbage_in_mid_answer_is_a_server_error(server: FakeOllama, line: bytes) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.data(line + b"\n")
        handler.end()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerError)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ({"error": "llama-server process has terminated: signal: killed"}, ServerError),
        ({"error": "an error was encountered while running the model: out-of-memory during startup"}, OutOfMemory),
        ({"error": "too many", "status": 429}, RateLimited),
        ({"error": {"nested": "words"}}, ServerError),
    ],
)
def test_an_error_in_mid_stream_is_typed(server: FakeOllama, line: dict[str, Any], kind: type[BackendError]) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.line(line)
        handler.end()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, kind)


def test_a_stream_that_ends_without_done_is_a_server_error(server: FakeOllama) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.end()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerError)
    assert "without an end" in error.title


def test_a_repetition_that_ollama_cut_off_is_called_by_its_name(server: FakeOllama) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        for _ in range(31):
            handler.line(said_in(False, "", " la"))
        handler.end()

    answer, error = asked(server, say)
    assert answer.text == "One two" + " la" * 31
    assert isinstance(error, ServerError)
    assert "repetition" in error.title


def test_thousands_of_identical_pieces_arrive(server: FakeOllama) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        for _ in range(5000):
            handler.line(said_in(False, "", " la"))
        handler.line({**said_in(False, "", ""), "done": True, "done_reason": "stop", "eval_count": 5003})
        handler.end()

    on_chat(server, say)
    with Talk(server) as talk:
        answer = talk.ask()
    assert answer.text == "One two" + " la" * 5000
    assert answer.done.usage.output_tokens == 5002


def test_a_megabyte_in_one_piece_arrives(server: FakeOllama) -> None:
    said = "wide " * 200_000

    def say(handler: Handler) -> None:
        begun(handler)
        handler.line({**said_in(False, "", said), "done": True, "done_reason": "stop", "eval_count": 4})
        handler.end()

    on_chat(server, say)
    with Talk(server) as talk:
        assert talk.ask().text == "One two" + said


def test_a_line_without_an_end_does_not_fill_the_memory(server: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINE_LIMIT", 100_000)

    def say(handler: Handler) -> None:
        begun(handler)
        for _ in range(1000):
            handler.data(b"x" * 65536)
        handler.end()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerError)


@pytest.mark.parametrize("status", [200, 500])
def test_a_reply_without_an_end_does_not_fill_the_memory(
    server: FakeOllama, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(client, "REPLY_LIMIT", 100_000)

    def fault(handler: Handler, path: str, _body: dict[str, Any]) -> bool:
        if path == "/api/show":
            handler.reply(status, b" " * 10_000_000)
        return path == "/api/show"

    server.fault = fault
    assert isinstance(failed(server), BackendError)


def test_a_slow_server_is_waited_for_and_can_be_stopped(server: FakeOllama) -> None:
    cancel = Cancel()

    def say(handler: Handler) -> None:
        begun(handler)
        handler.wait(30.0)
        raise BrokenPipeError

    on_chat(server, say)
    with Talk(server) as talk:
        later(0.5, cancel.set)
        answer = talk.ask(cancel=cancel)
        assert answer.done.reason == "stopped"
        assert answer.text == "One two"
        assert answer.wall_s < 1.5
        assert talk.ask().text


def test_a_server_that_is_gone_between_two_questions_is_unreachable() -> None:
    with FakeOllama() as server:
        server.models["tiny:latest"] = FakeModel()
        talk = Talk(server)
        talk.load()
        assert talk.ask().text
    answer = talk.ask()
    assert isinstance(answer.error, ServerUnreachable)
    assert answer.error.hint
    started = time.monotonic()
    talk.backend.unload()
    assert time.monotonic() - started < 5


def test_a_server_that_takes_the_line_and_says_nothing_can_be_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        options = OllamaOptions(host=f"127.0.0.1:{mute.getsockname()[1]}")
        cancel = Cancel()
        later(0.3, cancel.set)
        started = time.monotonic()
        with pytest.raises(Cancelled):
            OllamaBackend().load("x", options, lambda _report: None, cancel)
        assert time.monotonic() - started < 2.0
