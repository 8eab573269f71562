"""What an OpenAI-compatible server says where it refuses a question is a typed error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from backends.errors import (
    BackendError,
    BadOptions,
    ContextOverflow,
    ModelNotFound,
    OutOfMemory,
    RateLimited,
    ServerError,
    Unauthorized,
)
from backends.http.failures import UnknownAddress
from backends.origins import config_file
from tests.backends.fake_openai import FakeOpenAI
from tests.backends.openai_talk import HTML, Talk, asked, failed, on_path, refuse, serving

OPENAI = (
    "This model's maximum context length is 65536 tokens. However, you requested 66343 tokens (62247 in the messages"
)
SERVERS_WORDS: dict[str, tuple[int, Any]] = {
    "vLLM": (400, {"object": "error", "message": f"{OPENAI}, 4096 in the completion).", "type": "BadRequestError"}),
    "vLLM 0.15": (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 2048 tokens. However, your request has 2100 input "
                "tokens. Please reduce the length of the input messages. (parameter=input_tokens, value=2100)",
                "type": "BadRequestError",
                "param": "input_tokens",
                "code": 400,
            }
        },
    ),
    "vLLM's engine": (
        400,
        {
            "object": "error",
            "message": "The decoder prompt (length 10127) is longer than the maximum model length of 8192. Make sure "
            "that `max_model_len` is no smaller than the number of text tokens plus multimodal tokens.",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "llama-server": (
        400,
        {
            "error": {
                "code": 400,
                "message": "request (25837 tokens) exceeds the available context size (25088 tokens), try increasing "
                "it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 25837,
                "n_ctx": 25088,
            }
        },
    ),
    "llama-server of 2025": (
        500,
        {
            "error": {
                "code": 500,
                "message": "the request exceeds the available context size. try increasing the context size or enable "
                "context shift",
                "type": "exceed_context_size_error",
            }
        },
    ),
    "llama-cpp-python": (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 512 tokens, however you requested 900 tokens (884 "
                "in your prompt; 16 for the completion). Please reduce your prompt; or completion length.",
                "type": "invalid_request_error",
                "code": "context_length_exceeded",
            }
        },
    ),
    "SGLang": (
        400,
        {
            "object": "error",
            "message": "The input (61709 tokens) is longer than the model's context length (40960 tokens).",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    "SGLang with a limit": (
        400,
        {
            "object": "error",
            "message": "Requested token count exceeds the model's maximum context length of 32768 tokens. You "
            "requested a total of 33000 tokens: 32000 tokens from the input messages and 1000 tokens for the "
            "completion.",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "TabbyAPI": (
        400,
        {
            "error": {
                "message": "Prompt length 5000 exceeds the available context size of 4096 tokens",
                "type": "invalid_request_error",
                "param": None,
                "code": "context_length_exceeded",
            }
        },
    ),
    "LM Studio": (
        400,
        {
            "error": "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded "
            "with context length of only 4096 tokens, which is not enough. Try to load the model with a larger context "
            "length, or provide a shorter input"
        },
    ),
    "LM Studio 0.4": (400, {"error": "Cannot truncate prompt with n_keep (15028) >= n_ctx (7424)"}),
    "DeepSeek": (
        400,
        {
            "error": {
                "message": f"{OPENAI}, 4096 in the completion). Please reduce the length of the messages or "
                "completion.",
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_request_error",
            }
        },
    ),
}


def keyed(server: FakeOpenAI, key: str) -> None:
    """Confirm a server with a key, as `deepseek-tui origins add` does."""
    file = config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'[origins."{server.root}"]\nkey = "{key}"\n')


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with serving() as server:
        yield server


@pytest.mark.parametrize("whose", SERVERS_WORDS)
def test_a_prompt_that_is_too_long_is_known_in_every_servers_words(server: FakeOpenAI, whose: str) -> None:
    status, body = SERVERS_WORDS[whose]
    answer, error = asked(server, refuse(status, body))
    assert isinstance(error, ContextOverflow)
    assert answer.events == []
    assert "beginning" in error.hint


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}}, Unauthorized),
        (403, {"detail": "Forbidden"}, Unauthorized),
        (402, {"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}}, RateLimited),
        (429, {"error": {"message": "Rate limit reached", "type": "rate_limit_error"}}, RateLimited),
        (429, HTML, RateLimited),
        (404, {"error": {"message": "The model `tiny` does not exist.", "code": 404}}, ModelNotFound),
        (404, {"error": "Model not found"}, ModelNotFound),
        (404, {"detail": "Not Found"}, UnknownAddress),
        (500, {"error": {"message": "CUDA out of memory. Tried to allocate 2.00 GiB.", "code": 500}}, OutOfMemory),
        (500, {"error": "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed"}, OutOfMemory),
        (500, {"error": {"message": "EngineCore encountered an issue.", "code": 500}}, ServerError),
        (503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}, ServerError),
        (400, {"error": {"message": "temperature must be non-negative", "code": 400}}, BadOptions),
        (400, {"error": {"message": "unknown chat template", "code": 400}}, BadOptions),
        (422, {"detail": [{"loc": ["body", "messages"], "msg": "Field required", "type": "missing"}]}, BadOptions),
        (502, HTML, ServerError),
        (504, b"", ServerError),
        (500, b"\xff\xfe\x00", ServerError),
        (500, {"error": ["not", {"text": 1}]}, ServerError),
        (418, b"short and stout", BadOptions),
    ],
)  # fmt: skip
def test_a_refusal_is_typed(server: FakeOpenAI, status: int, body: Any, kind: type[BackendError]) -> None:
    answer, error = asked(server, refuse(status, body))
    assert type(error) is kind
    assert answer.events == []


def test_what_the_server_said_is_told_with_its_status(server: FakeOpenAI) -> None:
    body = {"error": {"message": "presence_penalty must be in [-2, 2], got 3.", "code": 400}}
    _, error = asked(server, refuse(400, body))
    assert error.detail == "presence_penalty must be in [-2, 2], got 3. (HTTP 400)"
    assert server.host in error.title


def test_a_server_that_wants_a_key_is_told_of_with_the_command_that_gives_it(server: FakeOpenAI) -> None:
    server.key = "secret"
    error = failed(server)
    assert isinstance(error, Unauthorized)
    assert error.title == f"{server.host} wants a key"
    assert error.hint == f"Give it one: deepseek-tui origins add {server.root} --key"


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_told_of_so_and_not_shown(server: FakeOpenAI, status: int) -> None:
    keyed(server, "wrong-and-secret")
    on_path(server, "/models", refuse(status, {"error": {"message": "no", "type": "x"}}))
    error = failed(server)
    assert isinstance(error, Unauthorized)
    assert error.title == f"{server.host} refuses the key"
    assert f"origins add {server.root} --key" in error.hint
    assert "secret" not in str(error) + error.hint


def test_a_key_goes_with_every_request_to_its_own_origin_and_to_no_other(server: FakeOpenAI) -> None:
    keyed(server, "s3cret")
    server.key = "s3cret"
    with Talk(server) as talk, serving() as other:
        assert talk.ask().text
        assert {headers.get("authorization") for headers in server.headers} == {"Bearer s3cret"}
        with Talk(other) as elsewhere:
            assert elsewhere.ask().text
        assert all("authorization" not in headers for headers in other.headers)


def test_a_key_of_the_environment_goes_to_no_server(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "DEEPSEEK_API_KEY"):
        monkeypatch.setenv(name, "secret")
    with Talk(server) as talk:
        assert talk.ask().text
    assert all("authorization" not in headers for headers in server.headers)


def test_a_proxy_of_the_environment_never_sees_local_traffic(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Talk(server) as talk:
        assert talk.ask().text


@pytest.mark.parametrize(("wait", "hint"), [("17", "in 17 s"), ("Wed, 21 Oct 2026 07:28:00 GMT", "in a while")])
def test_a_server_that_wants_fewer_questions_says_when_to_ask_again(server: FakeOpenAI, wait: str, hint: str) -> None:
    _, error = asked(server, refuse(429, {"error": {"message": "slow down"}}, Retry_After=wait))
    assert isinstance(error, RateLimited)
    assert hint in error.hint


def test_an_account_with_nothing_left_says_so(server: FakeOpenAI) -> None:
    _, error = asked(server, refuse(402, {"error": {"message": "Insufficient Balance"}}))
    assert isinstance(error, RateLimited)
    assert "nothing left" in error.title
    assert error.detail == "Insufficient Balance"


def test_a_model_that_the_server_gave_up_between_two_questions_is_named(server: FakeOpenAI) -> None:
    with Talk(server) as talk:
        del server.models["tiny"]
        error = talk.ask().error
    assert isinstance(error, ModelNotFound)
    assert "tiny" in error.title


def test_an_address_that_the_server_does_not_know_says_what_most_want(server: FakeOpenAI) -> None:
    server.prefix = "/somewhere/else"
    error = failed(server, base_url=server.root)
    assert isinstance(error, UnknownAddress)
    assert "/v1" in error.hint
    assert server.paths() == ["/v1/models", "/models"]
