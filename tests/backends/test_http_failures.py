"""What a server refuses and how a line fails: always a typed error in printable words, whatever was sent."""

from __future__ import annotations

import json
import socket
import ssl
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from backends.http.failures import UnknownAddress, message, refusal, unreachable

SERVER = "box:8000"
HTML = b"<!DOCTYPE html>\n<html><head><title>502 Bad\n Gateway</title></head><body><h1>nginx</h1></body></html>"
VLLM = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."
LLAMA = "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it"


def dialects(text: str) -> list[Any]:
    """The same words as each kind of server sends them."""
    return [
        {"error": {"message": text, "type": "invalid_request_error", "code": 400}},
        {"error": text},
        {"message": text, "object": "error"},
        {"detail": text},
        {"detail": [{"msg": text, "loc": ["body"], "type": "value_error"}]},
        {"detail": {"error": {"message": text}}},
        {"error": {"error": {"message": text}}},
        [{"error": {"message": text}}],
        text,
    ]


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (301, "moved", ServerError),
        (400, "temperature must be positive", BadOptions),
        (400, VLLM, ContextOverflow),
        (400, LLAMA, ContextOverflow),
        (413, "too many tokens", ContextOverflow),
        (422, "prompt is too long: 9000 > 4096", ContextOverflow),
        (500, "the input is longer than the model's context length", ContextOverflow),
        (0, LLAMA, ContextOverflow),
        (401, "missing", Unauthorized),
        (403, "forbidden", Unauthorized),
        (402, "Insufficient Balance", RateLimited),
        (429, "slow down", RateLimited),
        (429, "CUDA out of memory", RateLimited),
        (404, "The model `m-1` does not exist.", ModelNotFound),
        (404, "no such Model", ModelNotFound),
        (404, "Not Found", UnknownAddress),
        (405, "Method Not Allowed", BadOptions),
        (418, "I'm a teapot", BadOptions),
        (500, "CUDA out of memory. Tried to allocate 2 GiB", OutOfMemory),
        (400, "model requires more system memory (9 GiB) than is available", OutOfMemory),
        (0, "cudaMalloc failed: out-of-memory", OutOfMemory),
        (500, "boom", ServerError),
        (502, "bad gateway", ServerError),
        (503, "Loading model", ServerError),
        (503, LLAMA, ServerError),
        (599, "", ServerError),
        (0, "boom", ServerError),
    ],
)  # fmt: skip
def test_a_refusal_is_the_same_error_in_every_dialect(status: int, text: str, kind: type[BackendError]) -> None:
    for body in [json.dumps(value).encode() for value in dialects(text)] + [text.encode()]:
        error = refusal(status, body, SERVER, model="m-1")
        assert type(error) is kind, body
        assert error.title
        assert error.hint
        assert text in error.detail or status == 301


def test_an_address_that_is_unknown_differs_from_a_model_that_is() -> None:
    body = b'{"error": {"message": "no such model"}}'
    assert type(refusal(404, body, SERVER, model="m-1")) is ModelNotFound
    assert type(refusal(404, body, SERVER)) is UnknownAddress
    assert "/v1" in refusal(404, b"", SERVER).hint


def test_a_refused_key_differs_from_one_that_is_missing() -> None:
    assert refusal(401, b'{"error": "Invalid API key"}', SERVER).title == f"{SERVER} refuses the key"
    assert refusal(401, b"", SERVER).title == f"{SERVER} wants a key"
    assert refusal(403, b"", SERVER).title == f"{SERVER} refuses the key"


@pytest.mark.parametrize(
    ("header", "hint"),
    [("20", "Try again in 20 s."), ("Wed, 21 Oct 2026", "Try again in a while."), ("", "Try again in a while."),
     ("²", "Try again in a while."), ("-1", "Try again in a while.")],
)  # fmt: skip
def test_a_busy_server_says_how_long_to_wait(header: str, hint: str) -> None:
    assert refusal(429, b"", SERVER, headers={"retry-after": header}).hint == hint
    assert refusal(429, b"", SERVER).hint == "Try again in a while."


def test_a_redirect_is_told_with_where_it_leads_and_cannot_draw_on_the_screen() -> None:
    there = refusal(307, b"", SERVER, headers=httpx.Headers({"Location": "https://elsewhere/v1"}))
    assert there.detail == "To https://elsewhere/v1."
    assert refusal(307, b"", SERVER).detail == "It does not say where."
    assert "\x1b" not in refusal(307, b"", SERVER, headers={"location": "x\x1b[2J"}).detail


def test_the_status_is_told_where_the_words_do_not_say_it() -> None:
    assert refusal(418, b"no", SERVER).detail == "no (HTTP 418)"
    assert refusal(500, b"", SERVER).detail == "(HTTP 500)"
    assert refusal(0, b"boom", SERVER).detail == "boom"


@pytest.mark.parametrize(
    "text", ["maximum context length", "n_ctx", "max_model_len", "context window", "too many tokens"]
)
def test_words_about_the_context_mean_nothing_in_other_refusals(text: str) -> None:
    body = json.dumps({"error": text}).encode()
    assert type(refusal(400, body, SERVER)) is ContextOverflow
    assert type(refusal(401, body, SERVER)) is Unauthorized
    assert type(refusal(502, body, SERVER)) is ServerError


@pytest.mark.parametrize("value", dialects("It is too warm."))
def test_the_words_are_found_in_every_dialect(value: Any) -> None:
    assert message(json.dumps(value).encode()) == "It is too warm."


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ""),
        (b"null", ""),
        (b"{}", ""),
        (b"[]", ""),
        (b'{"error": null, "message": "so"}', "so"),
        (b'{"error": {}, "detail": "so"}', "so"),
        (b'{"error": {"code": 7}}', "{'code': 7}"),
        (b'{"detail": [{"msg": "no extras", "loc": ["body", "stream_options", 0]}]}', "stream_options.0: no extras"),
        (b'{"detail": [{"msg": "a"}, {"msg": "b"}, {"msg": "c"}, {"msg": "d"}]}', "a; b; c"),
        (b'["a", "b"]', "a; b"),
        (b'{"message": 7}', "7"),
        (b"plain\r\n  words ", "plain words"),
        (b'{"error": "cut o', '{"error": "cut o'),
        (b"\xff\xfewords", "\ufffd\ufffdwords"),
        (b'{"error": "\xff"}', '{"error": "\ufffd"}'),
        (HTML, "It sent a web page: 502 Bad Gateway"),
        (b"  <html><body>x</body></html>", "It sent a web page."),
        (b"<html><title> </title>", "It sent a web page."),
        (b"<HTML><TITLE lang='en'>a &amp; b &lt;c&gt;</TITLE>", "It sent a web page: a & b <c>"),
        (b"<?xml version='1.0'?><Error/>", "It sent a web page."),
        (b"<html><title>\xff</title>", "It sent a web page: \ufffd"),
    ],
)
def test_whatever_the_body_is_its_words_are_one_line(body: bytes, words: str) -> None:
    assert message(body) == words


@pytest.mark.parametrize(
    "control", ["\x1b[31m", "\x00", "\x07", "\r", "\n", "\x9b", "\u202e", "\u200b", "\u2028", "\ue000"]
)
def test_characters_that_could_draw_on_the_screen_are_left_out(control: str) -> None:
    for body in (
        f"be{control}fore".encode(),
        json.dumps({"error": {"message": f"be{control}fore"}}).encode(),
        f"<html><title>be{control}fore</title>".encode(),
        f"<html><title>be&#{ord(control[0])};fore</title>".encode(),
    ):
        assert message(body).isprintable()
        assert "fore" in message(body)
        assert refusal(400, body, SERVER).detail.isprintable()
    assert unreachable(httpx.ReadError(f"be{control}fore"), SERVER).detail.isprintable()


@pytest.mark.parametrize("size", [301, 4097, 3_000_000])
def test_very_long_words_are_cut(size: int) -> None:
    for value in [
        *dialects("x" * size),
        {"error": dict.fromkeys(map(str, range(min(size, 5000))), 1)},
        ["x" * size] * 9,
    ]:
        words = message(json.dumps(value).encode())
        assert len(words) == 300
        assert words.endswith("…")
    for body in (b"x" * size, b"<html><title>" + b"x" * size + b"</title>", b"<html>" + b"x" * size):
        assert len(message(body)) <= 300
    assert message(b"x" * 300) == "x" * 300


def test_deeply_nested_bodies_are_told_as_they_are() -> None:
    for depth in (400, 900, 100_000):
        assert message(b"[" * depth + b"]" * depth)
        assert message(b'{"error":' * depth + b'"so"' + b"}" * depth)
        assert message(b"[" * depth)


@pytest.mark.parametrize("part", [b"<title>", b"<title", b"<title>x</titl", b" ", b"&amp;"])
def test_a_page_made_to_be_slow_is_not(part: bytes) -> None:
    body = b"<html>" + part * (4_000_000 // len(part))
    started = time.process_time()
    assert message(body) == "It sent a web page."
    assert time.process_time() - started < 1.0


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["error", "message", "detail", "msg", "x"]), inner, max_size=4
    ),
).map(lambda value: json.dumps(value).encode()), st.integers(0, 599))  # fmt: skip
def test_any_body_gives_a_typed_error_in_bounded_words(body: bytes, status: int) -> None:
    error = refusal(status, body, SERVER, model="m-1")
    assert len(message(body)) <= 300
    assert (error.title + error.detail).isprintable()
    assert len(error.detail) < 350
    assert error.hint


def caused(error: BaseException, *causes: BaseException) -> BaseException:
    """Chain as the HTTP client does: each cause has led to the one before."""
    top = error
    for cause in causes:
        error.__cause__ = cause
        error = cause
    return top


CERTIFICATE = ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")


@pytest.mark.parametrize(
    ("error", "kind", "title"),
    [
        (caused(httpx.ConnectError("x"), OSError("x"), CERTIFICATE), ServerUnreachable, "The certificate of box:8000"),
        (caused(httpx.ConnectError("x"), socket.gaierror(-2, "x")), ServerUnreachable, "There is no machine called so"),
        (caused(httpx.ConnectError("x"), ConnectionRefusedError()), ServerUnreachable, "box:8000 does not answer"),
        (ConnectionRefusedError(), ServerUnreachable, "box:8000 does not answer"),
        (httpx.ConnectTimeout("x"), ServerUnreachable, "box:8000 does not answer"),
        (httpx.PoolTimeout("x"), ServerUnreachable, "box:8000 does not answer"),
        (httpx.ReadTimeout("x"), ServerUnreachable, "box:8000 has fallen silent"),
        (httpx.WriteTimeout("x"), ServerUnreachable, "box:8000 has fallen silent"),
        (httpx.ConnectError("x"), ServerUnreachable, "box:8000 cannot be reached"),
        (caused(httpx.ConnectError("x"), ssl.SSLError(1, "wrong version")), ServerUnreachable, "box:8000 cannot be"),
        (httpx.ProxyError("407 x"), ServerUnreachable, "box:8000 cannot be reached"),
        (OSError(101, "Network is unreachable"), ServerUnreachable, "box:8000 cannot be reached"),
        (httpx.UnsupportedProtocol("x"), BadOptions, "Not a server's address"),
        (httpx.InvalidURL("x"), BadOptions, "Not a server's address"),
        (httpx.RemoteProtocolError("x"), ServerError, "box:8000 broke off"),
        (httpx.ReadError("x"), ServerError, "box:8000 broke off"),
        (httpx.WriteError("x"), ServerError, "box:8000 broke off"),
        (httpx.CloseError("x"), ServerError, "box:8000 broke off"),
        (httpx.DecodingError("x"), ServerError, "box:8000 sent what is no answer"),
        (httpx.LocalProtocolError("x"), ServerError, "box:8000 sent what is no answer"),
        (httpx.StreamClosed(), ServerError, "box:8000 sent what is no answer"),
    ],
)
def test_each_failure_of_a_line_is_told(error: BaseException, kind: type[BackendError], title: str) -> None:
    told = unreachable(error, SERVER)
    assert type(told) is kind
    assert told.title.startswith(title)
    assert told.detail
    assert told.hint


def test_a_failure_without_words_is_called_by_its_name() -> None:
    assert unreachable(httpx.ReadError(""), SERVER).detail == "ReadError"
    assert len(unreachable(httpx.ReadError("x" * 9999), SERVER).detail) == 300


def test_a_cause_that_a_library_left_unnamed_is_found() -> None:
    error = httpx.ConnectError("x")
    error.__context__ = ConnectionRefusedError()
    assert unreachable(error, SERVER).detail == "Nothing listens there."


def test_a_failure_that_is_its_own_cause_is_told_all_the_same() -> None:
    one, other = httpx.ConnectError("one"), OSError("other")
    one.__context__, other.__context__ = other, one
    assert unreachable(one, SERVER).detail == "one"
