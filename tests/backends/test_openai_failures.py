"""Whatever an OpenAI-compatible server does wrong in an answer is a typed error, and what was said is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from backends.errors import (
    BackendError,
    BadOptions,
    ContextOverflow,
    OutOfMemory,
    RateLimited,
    ServerError,
    ServerUnreachable,
)
from backends.http import client
from backends.openai import connection, dialect
from tests.backends.fake_openai import FakeOpenAI, Handler
from tests.backends.openai_talk import (
    HTML,
    Talk,
    asked,
    begun,
    failed,
    last,
    on_chat,
    on_path,
    piece,
    refuse,
    script,
    serving,
)


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with serving() as server:
        yield server


def test_a_server_that_dies_in_mid_answer_leaves_what_was_said(server: FakeOpenAI) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.die()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerError)
    assert "broke off" in error.title


def test_a_server_that_dies_in_mid_line_leaves_what_was_said(server: FakeOpenAI) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.data(b'data: {"choices": [{"delta": {"con')
        handler.die()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerError)


def test_a_server_that_dies_in_mid_chunk_leaves_what_was_said(server: FakeOpenAI) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.wfile.write(b'1000\r\ndata: {"choices": [{"delta": {"con')
        handler.die()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerError)


def test_a_server_that_dies_before_it_says_anything_is_a_server_error(server: FakeOpenAI) -> None:
    def say(handler: Handler) -> None:
        handler.begin()
        handler.die()

    answer, error = asked(server, say)
    assert answer.text == ""
    assert isinstance(error, ServerError)


def test_what_was_held_back_as_a_tag_is_told_before_the_error(server: FakeOpenAI) -> None:
    def say(handler: Handler) -> None:
        handler.begin()
        handler.send(piece("<thi"))
        handler.die()

    answer, _ = asked(server, say)
    assert answer.text == "<thi"


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"data: garbage",
        b'data: {"choices": [{"delta": {"con',
        b"data: []",
        b"data: 7",
        b"data: \xff\xfe",
        b'data: {"choices": 7}',
        b'data: {"choices": [{"delta": "text"}]}',
        b'data: {"choices": [{"delta": {"content": 7}}]}',
        b'data: {"usage": {"prompt_tokens": "many"}}',
        HTML,
    ],
)
def test_garbage_in_mid_answer_is_a_server_error(server: FakeOpenAI, line: bytes) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.data(line + b"\n\n")
        handler.end()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerError)
    assert "no answer" in error.title
    assert "/v1" in error.hint


@pytest.mark.parametrize("body", [HTML, b"\n" + HTML, b"\n".join(HTML.partition(b"<head>"))])
def test_a_web_page_instead_of_an_answer_is_called_so(server: FakeOpenAI, body: bytes) -> None:
    _, error = asked(server, refuse(200, body, "text/html"))
    assert isinstance(error, ServerError)
    assert "502 Bad Gateway" in error.detail
    assert "<" not in error.detail


@pytest.mark.parametrize("body", [b"", b"\n\n", b": nothing but a comment\n\n"])
def test_an_empty_answer_has_no_end(server: FakeOpenAI, body: bytes) -> None:
    _, error = asked(server, refuse(200, body, "text/event-stream"))
    assert isinstance(error, ServerError)
    assert "without an end" in error.title


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "EngineCore encountered an issue.", "code": 500}}, ServerError),
        ({"error": {"message": "CUDA out of memory. Tried to allocate 2 GiB", "code": 500}}, OutOfMemory),
        ({"error": {"message": "Rate limit reached", "code": 429}}, RateLimited),
        ({"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}, ServerError),
        ({"error": {"message": "Context size has been exceeded.", "code": 500}}, ContextOverflow),
        ({"error": {"message": "Prompt length 5000 exceeds the available context size of 4096 tokens",
                    "type": "invalid_request_error", "code": "context_length_exceeded"}}, ContextOverflow),
        ({"error": "The model has crashed without additional information."}, ServerError),
        ({"error": {"nested": "words"}}, ServerError),
        ({"choices": [], "error": {"message": "overloaded", "code": 503}}, ServerError),
    ],
)  # fmt: skip
def test_an_error_in_mid_stream_is_typed(server: FakeOpenAI, event: dict[str, Any], kind: type[BackendError]) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.send(event)
        handler.end()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert type(error) is kind


def test_an_error_as_an_older_llama_server_tells_it_is_understood(server: FakeOpenAI) -> None:
    words = b"the request exceeds the available context size. try increasing the context size or enable context shift"

    def say(handler: Handler) -> None:
        handler.begin()
        handler.data(b'error: {"code":400,"message":"' + words + b'","type":"invalid_request_error"}\n\n')
        handler.data(b"data: [DONE]\n\n")
        handler.end()

    _, error = asked(server, say)
    assert isinstance(error, ContextOverflow)
    assert error.detail == words.decode()


@pytest.mark.parametrize("done", [b"", b"data: [DONE]\n\n"])
def test_an_answer_without_a_reason_for_its_end_broke_off(server: FakeOpenAI, done: bytes) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        if done:
            handler.data(done)
        handler.end()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerError)
    assert "without an end" in error.title


def test_an_answer_with_a_reason_for_its_end_needs_no_last_word(server: FakeOpenAI) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.send(last())
        handler.end()

    on_chat(server, say)
    with Talk(server) as talk:
        answer = talk.ask()
    assert answer.text == "One two"
    assert answer.done.reason == "stop"


@pytest.mark.parametrize("reason", ["content_filter", "error", "abort", "insufficient_system_resource"])
def test_an_answer_that_the_server_broke_off_is_an_error(server: FakeOpenAI, reason: str) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        handler.send(last(reason))
        handler.data(b"data: [DONE]\n\n")
        handler.end()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerError)
    assert reason in error.detail


def test_thousands_of_identical_pieces_arrive(server: FakeOpenAI) -> None:
    script(server, *[piece(" la")] * 5000, last(usage={"prompt_tokens": 3, "completion_tokens": 5001}))
    with Talk(server) as talk:
        answer = talk.ask()
    assert answer.text == " la" * 5000
    assert answer.done.usage.output_tokens == 5000


def test_a_megabyte_in_one_piece_arrives(server: FakeOpenAI) -> None:
    said = "wide " * 200_000
    script(server, piece(said), last())
    with Talk(server) as talk:
        assert talk.ask().text == said


def test_a_line_without_an_end_does_not_fill_the_memory(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINE_LIMIT", 100_000)
    sent = 0

    def say(handler: Handler) -> None:
        nonlocal sent
        begun(handler)
        for _ in range(1000):
            handler.data(b"x" * 65536)
            sent += 1
        handler.end()

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerError)
    assert sent < 1000


def test_an_object_without_an_end_does_not_fill_the_memory(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "WHOLE_LIMIT", 100_000)
    sent = 0

    def say(handler: Handler) -> None:
        nonlocal sent
        handler.begin()
        handler.data(b'{"choices": [\n')
        for _ in range(10_000):
            handler.data(b'{"message": {"content": "on and on"}},\n' * 200)
            sent += 1
        handler.end()

    _, error = asked(server, say)
    assert isinstance(error, ServerError)
    assert sent < 10_000


@pytest.mark.parametrize("status", [200, 500])
def test_a_reply_without_an_end_does_not_fill_the_memory(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(client, "REPLY_LIMIT", 100_000)
    on_path(server, "/models", refuse(status, b" " * 10_000_000))
    error = failed(server)
    assert isinstance(error, ServerError)
    assert "longer than" in error.detail


def test_a_refusal_without_an_end_does_not_fill_the_memory(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "REPLY_LIMIT", 100_000)
    _, error = asked(server, refuse(500, b" " * 10_000_000))
    assert isinstance(error, ServerError)
    assert "longer than" in error.detail


def test_a_redirect_is_an_error_and_the_key_does_not_go_along(server: FakeOpenAI) -> None:
    with serving() as elsewhere:
        _, error = asked(server, refuse(307, b"", Location=f"{elsewhere.url}/chat/completions"))
        assert isinstance(error, ServerError)
        assert elsewhere.url in error.detail
        assert "not followed" in error.hint
        assert elsewhere.asked == []


def test_a_redirect_at_load_is_an_error_and_is_not_followed(server: FakeOpenAI) -> None:
    with serving() as elsewhere:
        on_path(server, "/models", refuse(302, b"", Location=f"{elsewhere.url}/models"))
        assert isinstance(failed(server), ServerError)
        assert elsewhere.asked == []


def test_nobody_at_the_other_end_is_unreachable_and_says_what_to_do(server: FakeOpenAI) -> None:
    error = failed(server, base_url="http://127.0.0.1:9/v1")
    assert isinstance(error, ServerUnreachable)
    assert "127.0.0.1:9" in error.title
    assert "Start the server" in error.hint


def test_a_server_that_is_gone_between_two_questions_is_unreachable() -> None:
    with serving() as server:
        talk = Talk(server)
        talk.load()
        assert talk.ask().text
    answer = talk.ask()
    assert isinstance(answer.error, ServerUnreachable)
    assert answer.error.hint
    talk.backend.unload()


def test_a_line_that_the_server_closed_before_a_question_is_opened_again(server: FakeOpenAI) -> None:
    used: set[Handler] = set()

    def fault(handler: Handler, _path: str, _body: dict[str, Any]) -> bool:
        """Take one request on each line; close it when the next one comes, as if that had crossed the end."""
        if handler in used:
            handler.die()
            return True
        used.add(handler)
        return False

    server.fault = fault
    with Talk(server) as talk:
        assert talk.ask().text == "It is what it is."
    assert len(server.chats()) == 2, "the question was sent into a dead line, then into a new one"


def test_a_question_is_not_asked_twice_where_the_line_was_new(server: FakeOpenAI) -> None:
    def fault(handler: Handler, path: str, _body: dict[str, Any]) -> bool:
        if path.endswith("/models"):
            handler.close_connection = True
            handler.reply(200, {"data": []}, Connection="close")
        else:
            handler.die()
        return True

    server.fault = fault
    with Talk(server) as talk:
        assert isinstance(talk.ask().error, ServerError)
    assert len(server.chats()) == 1


@pytest.mark.parametrize(
    "base_url", ["http://a b", "ftp://x/v1", "http://[::1", "http://x:99999/v1", "http://me:secret@x/v1", "/models"]
)
def test_what_is_no_address_is_a_bad_option(server: FakeOpenAI, base_url: str) -> None:
    error = failed(server, base_url=base_url)
    assert isinstance(error, BadOptions)
    assert "http" in error.hint
    assert "secret" not in str(error)
