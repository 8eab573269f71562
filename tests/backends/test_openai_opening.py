"""What is found out of an OpenAI-compatible server before the first question: kind, model, context, address."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from backends.base import Cancel, Loaded
from backends.errors import BackendError, ModelNotFound, NewOrigin, NotInstalled, ServerError
from backends.openai import OpenAIBackend
from backends.openai.flavours import FLAVOURS, recognised
from backends.openai.options import OpenAIOptions
from backends.origins import config_file
from tests.backends.fake_openai import KINDS, FakeOpenAI, Handler
from tests.backends.openai_talk import HTML, Talk, failed, on_path, options, refuse, serving

EVERYTHING = ("prefix_reuse", "seed", "exact_tokens", "continue", "answer_now")
CAN = {
    "plain": ("seed",),
    "vllm": EVERYTHING,
    "sglang": ("prefix_reuse", "seed", "continue", "answer_now"),
    "tabby": ("prefix_reuse", "seed", "continue", "answer_now"),
    "llama_server": EVERYTHING,
    "lm_studio": ("prefix_reuse", "seed"),
    "deepseek": ("prefix_reuse",),
}
VERSIONS = {"vllm": " 0.11.0", "llama_server": " b9999"}
UNKNOWN = "The server does not tell how large its context is; `context` in the preset would."


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with serving() as server:
        yield server


def loaded(server: FakeOpenAI, model: str = "tiny", **fields: Any) -> Loaded:
    with Talk(server, model, **fields) as talk:
        assert talk.loaded is not None
        return talk.loaded


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_recognised_by_who_owns_its_models(kind: str) -> None:
    with serving(kind) as server:
        found = loaded(server)
        assert found.device == f"{FLAVOURS[kind].title}{VERSIONS.get(kind, '')} at {server.host}"
        assert found.capabilities == CAN[kind]
        assert found.load_s is not None


@pytest.mark.parametrize(
    ("wanted", "host", "owners", "kind"),
    [
        ("auto", "api.deepseek.com", set(), "deepseek"),
        ("auto", "api.deepseek.com.evil.example", set(), "plain"),
        ("auto", "gpu-box", {"TabbyAPI", "me"}, "tabby"),
        ("auto", "gpu-box", {"somebody"}, "plain"),
        ("auto", "gpu-box", set(), "plain"),
        ("sglang", "api.deepseek.com", {"vllm"}, "sglang"),
        ("plain", "gpu-box", {"vllm"}, "plain"),
    ],
)
def test_an_address_and_the_preset_say_more_than_the_owners(
    wanted: Any, host: str, owners: set[str], kind: str
) -> None:
    assert recognised(wanted, host, owners) == kind


def test_a_preset_may_say_what_kind_of_server_it_is(server: FakeOpenAI) -> None:
    assert loaded(server, flavour="sglang").device.startswith("SGLang at")


@pytest.mark.parametrize("kind", ["vllm", "sglang", "tabby", "llama_server", "lm_studio"])
def test_the_context_is_what_the_server_says(kind: str) -> None:
    with serving(kind, context=3072) as server:
        found = loaded(server)
        assert found.context == 3072
        assert found.notes == ()
        assert found.trained_context == (6144 if kind in {"llama_server", "lm_studio"} else None)


@pytest.mark.parametrize("kind", ["vllm", "tabby", "llama_server"])
def test_of_two_contexts_the_smaller_one_counts(kind: str) -> None:
    with serving(kind, context=3072) as server:
        found = loaded(server, context=1024)
        assert (found.context, found.notes) == (1024, ())
        found = loaded(server, context=8192)
        assert found.context == 3072
        assert found.notes == ("The context is 3,072 tokens instead of 8,192: the server has no more.",)


def test_a_context_that_nobody_tells_is_unknown_and_said(server: FakeOpenAI) -> None:
    found = loaded(server)
    assert (found.context, found.notes) == (None, (UNKNOWN,))
    found = loaded(server, context=2048)
    assert (found.context, found.notes) == (2048, ())


@pytest.mark.parametrize(
    ("kind", "path", "reply"),
    [
        ("llama_server", "/props", (404, {"error": "not found"})),
        ("llama_server", "/props", (200, {"default_generation_settings": [1]})),
        ("llama_server", "/props", (200, {"default_generation_settings": {"n_ctx": 0}})),
        ("tabby", "/v1/model", (503, {"detail": "No models are currently loaded."})),
        ("tabby", "/v1/model", (200, {"parameters": {"max_seq_len": "4096"}})),
        ("lm_studio", "/api/v0/models", (200, {"data": {"id": "tiny"}})),
        ("lm_studio", "/api/v0/models", (200, {"data": ["tiny", {"id": "tiny", "loaded_context_length": True}]})),
        ("lm_studio", "/api/v0/models", (200, HTML)),
    ],
)
def test_a_server_that_tells_less_is_enough(kind: str, path: str, reply: tuple[int, Any]) -> None:
    with serving(kind) as server:

        def fault(handler: Handler, where: str, _body: dict[str, Any]) -> bool:
            if where == path:
                handler.reply(*reply)
            return where == path

        server.fault = fault
        with Talk(server) as talk:
            assert talk.loaded is not None
            assert (talk.loaded.context, talk.loaded.notes) == (None, (UNKNOWN,))
            assert talk.ask().text


def test_a_version_that_is_none_is_left_out_and_a_long_one_is_cut() -> None:
    with serving("vllm") as server:
        on_path(server, "/version", refuse(200, {"version": None}))
        assert loaded(server).device == f"vLLM at {server.host}"
        on_path(server, "/version", refuse(200, {"version": "9" * 1000}))
        assert len(loaded(server).device) < 100


def test_a_model_of_a_server_that_lists_paths_is_found_by_its_short_name(server: FakeOpenAI) -> None:
    server.models["/srv/models/R1-Q4_K_M.gguf"] = lambda _question: "From the file."
    with Talk(server, "R1-Q4_K_M.gguf") as talk:
        assert talk.ask().text == "From the file."
    assert server.chats()[-1]["model"] == "/srv/models/R1-Q4_K_M.gguf"


def test_a_short_name_that_two_models_have_is_neither(server: FakeOpenAI) -> None:
    for folder in "ab":
        server.models[f"/{folder}/R1.gguf"] = lambda question: question
    error = failed(server, "R1.gguf")
    assert isinstance(error, ModelNotFound)
    assert "/a/R1.gguf" in error.detail
    assert "/b/R1.gguf" in error.detail


def test_a_missing_model_is_told_with_those_that_are_alike(server: FakeOpenAI) -> None:
    for name in ("DeepSeek-R1-Distill-Qwen-14B", "DeepSeek-R1-Distill-Qwen-32B", "embedder"):
        server.models[name] = lambda question: question
    error = failed(server, "deepseek-r1-distill-qwen-32b")
    assert isinstance(error, ModelNotFound)
    assert error.title == f"{server.host} has no model called deepseek-r1-distill-qwen-32b"
    assert error.detail.startswith("It has: DeepSeek-R1-Distill-Qwen-32B, DeepSeek-R1-Distill-Qwen-14B")
    assert "embedder" not in error.detail
    assert error.hint == 'Write source = "server:DeepSeek-R1-Distill-Qwen-32B" in the preset.'


def test_a_missing_model_that_is_like_none_is_told_with_the_first_few(server: FakeOpenAI) -> None:
    for number in range(100):
        server.models[f"m{number}"] = lambda question: question
    error = failed(server, "deepseek-r1-distill-qwen-32b")
    assert isinstance(error, ModelNotFound)
    assert error.detail == "It has: tiny, m0, m1, m2, m3."


@pytest.mark.parametrize("body", [{"object": "list", "data": []}, {"data": None}])
def test_a_server_that_lists_nothing_is_asked_under_the_presets_name(server: FakeOpenAI, body: dict[str, Any]) -> None:
    on_path(server, "/models", refuse(200, body))
    with Talk(server) as talk:
        assert talk.ask().text
    assert server.chats()[-1]["model"] == "tiny"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"7", b"{", b'{"data": 7}', b'{"data": [7]}', b"\xff\xfe", HTML, b"{}",
     b'{"error": "Unexpected endpoint or method. (GET /models). Returning 200 anyway"}'],
)  # fmt: skip
def test_nonsense_instead_of_a_list_is_no_such_server(server: FakeOpenAI, body: bytes) -> None:
    on_path(server, "/models", refuse(200, body))
    error = failed(server)
    assert isinstance(error, ServerError)
    assert "no answer" in error.title
    assert "/v1" in error.hint


@pytest.mark.parametrize("prefix", ["/v1", "", "/openai/v1", "/api/serve"])
@pytest.mark.parametrize("pasted", ["", "/", "/chat/completions", "/completions", "/models/"])
def test_an_address_works_however_much_of_it_was_pasted(server: FakeOpenAI, prefix: str, pasted: str) -> None:
    server.prefix = prefix
    with Talk(server, base_url=f" {server.root}{prefix}{pasted}\n") as talk:
        assert talk.ask().text
    assert server.paths()[-1] == f"{prefix}/chat/completions"


@pytest.mark.parametrize("path", ["", "/"])
def test_the_v1_may_be_left_out(path: str) -> None:
    with serving("llama_server") as server, Talk(server, base_url=server.root + path) as talk:
        assert talk.ask().text
        assert server.paths()[0] == "/v1/models"
        assert "/props" in server.paths()
        assert server.paths()[-1] == "/v1/chat/completions"


def test_the_v1_is_found_once_while_a_server_loads(server: FakeOpenAI) -> None:
    server.loading = 2
    with Talk(server, base_url=server.root) as talk:
        assert talk.ask().text
    assert server.paths() == ["/v1/models"] * 3 + ["/v1/chat/completions"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_address_of_ipv6_works() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on the loopback")
    with serving(host="::1") as server:
        assert loaded(server).device == f"OpenAI-compatible server at [::1]:{server.port}"
        with Talk(server) as talk:
            assert talk.ask().text


def test_a_server_that_only_a_preset_names_must_be_confirmed() -> None:
    here = OpenAIOptions("http://gpu.example:8000/v1")
    with pytest.raises(NewOrigin) as caught:
        OpenAIBackend().load("x", here, lambda _: None, Cancel())
    assert caught.value.detail == "http://gpu.example:8000"
    said = OpenAIBackend.check(here)
    assert said.ready
    assert said.detail == "http://gpu.example:8000 is not confirmed yet"


def test_a_load_gives_up_the_one_before_it(server: FakeOpenAI) -> None:
    with serving("vllm", "Another.") as other, Talk(server) as talk:
        talk.options = options(other)
        talk.load()
        assert talk.ask().text == "Another."
        assert server.chats() == []


def test_nothing_can_be_asked_before_a_server_was_looked_at(server: FakeOpenAI) -> None:
    talk = Talk(server)
    error = talk.ask().error
    assert isinstance(error, BackendError)
    assert error.hint
    talk.backend.unload()
    assert server.asked == []


def test_a_failed_load_leaves_nothing_behind(server: FakeOpenAI) -> None:
    with Talk(server) as talk:
        server.models.clear()
        server.models["another"] = lambda question: question
        with pytest.raises(ModelNotFound):
            talk.load()
        error = talk.ask().error
        assert isinstance(error, BackendError)
        assert "No model is loaded" in error.title


def test_check_without_a_server_tells_the_client_alone() -> None:
    said = OpenAIBackend.check()
    assert said.ready
    assert said.version.startswith("httpx ")
    assert not said.lasting


@pytest.mark.parametrize("base", ["{root}/v1", "{root}", "{root}/v1/chat/completions"])
def test_check_of_a_server_that_answers_names_it(server: FakeOpenAI, base: str) -> None:
    said = OpenAIBackend.check(OpenAIOptions(base.format(root=server.root)))
    assert said.ready
    assert said.detail == f"at {server.host}"
    assert not said.lasting


@pytest.mark.parametrize(
    ("status", "body", "detail"),
    [
        (503, {"error": {"message": "Loading model"}}, "Loading model"),
        (500, {"error": "no luck"}, "no luck"),
        (302, "", "sends elsewhere"),
        (404, {"detail": "Not Found"}, "does not know this address"),
    ],
)
def test_check_of_a_server_that_is_there_leaves_the_rest_to_the_question(
    server: FakeOpenAI, status: int, body: Any, detail: str
) -> None:
    on_path(server, "/models", refuse(status, body))
    said = OpenAIBackend.check(options(server))
    assert said.ready
    assert detail in said.detail
    assert said.hint


def test_check_of_a_server_that_wants_a_key_says_so(server: FakeOpenAI) -> None:
    server.key = "secret"
    said = OpenAIBackend.check(options(server))
    assert said.ready
    assert "wants a key" in said.detail
    assert "origins add" in said.hint


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:9/v1", "http://a b", "http://[::1", "ftp://127.0.0.1"])
def test_check_of_what_is_no_server_never_raises(base_url: str) -> None:
    said = OpenAIBackend.check(OpenAIOptions(base_url))
    assert not said.ready
    assert said.detail
    assert said.hint
    assert not said.lasting


def test_check_of_settings_that_cannot_be_read_never_raises(server: FakeOpenAI) -> None:
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text("[origins\n")
    said = OpenAIBackend.check(options(server))
    assert not said.ready
    assert "config.toml" in said.detail


def test_a_client_that_cannot_be_imported_is_told_of(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    assert isinstance(failed(server), NotInstalled)
    said = OpenAIBackend.check(options(server))
    assert not said.ready
    assert "Reinstall" in said.hint


@pytest.mark.parametrize(
    "wrong",
    [{}, {"base_url": ""}, {"base_url": "x", "key": "secret"}, {"base_url": "x", "context": 10},
     {"base_url": "x", "flavour": "openai"}, {"base_url": "x", "price": {"input_per_million": 1}},
     {"base_url": "x", "price": {"input_per_million": -1, "output_per_million": 1}}],
)  # fmt: skip
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, OpenAIOptions)
