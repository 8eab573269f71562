"""Loading through Ollama: what is asked, what is told, what is taken away from nobody, what is given back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from backends import paths
from backends.base import Cancel, Cancelled
from backends.errors import BadModelFile, ModelNotFound, NewOrigin, ServerUnreachable
from backends.ollama import OllamaBackend, OllamaOptions
from tests.backends import fake_ollama
from tests.backends.fake_ollama import FakeModel, FakeOllama, InMemory
from tests.backends.ollama_talk import Talk, failed, later, serving, until


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    yield from serving(tiny=FakeModel())


def test_a_model_is_loaded_with_the_presets_context_and_an_end_of_its_own(server: FakeOllama) -> None:
    with Talk(server, context=2048) as talk:
        loads = [body for body in server.bodies("/api/chat") if not body["messages"]]
        assert loads == [
            {
                "model": "tiny", "messages": [], "stream": False, "options": {"num_ctx": 2048}, "shift": False,
                "keep_alive": "30m",
            }
        ]  # fmt: skip
        loaded = talk.loaded
        assert loaded is not None
        assert loaded.context == 2048
        assert loaded.trained_context == 8192
        assert loaded.layers == 30
        assert (loaded.model_bytes, loaded.vram_bytes) == (1_000_000, 1_000_000)
        assert loaded.device == f"Ollama 0.33.0 at 127.0.0.1:{server.port}"
        assert loaded.notes == ()
        assert loaded.capabilities == ("seed", "prefix_reuse", "continue", "answer_now")


def test_nothing_on_the_card_is_zero_and_not_unknown(server: FakeOllama) -> None:
    with Talk(server, gpu_layers=0) as talk:
        assert talk.loaded is not None
        assert talk.loaded.vram_bytes == 0


def test_a_context_above_the_trained_one_is_said(server: FakeOllama) -> None:
    with Talk(server, context=16384) as talk:
        assert talk.loaded is not None
        assert talk.loaded.context == 8192
        assert "8,192 tokens instead of 16,384, all that the model was trained for" in talk.loaded.notes[0]


def test_progress_tells_how_long_it_takes(server: FakeOllama) -> None:
    server.load_s = 1.3
    with Talk(server) as talk:
        notes = [report.note for report in talk.reports]
        assert "Ollama loads tiny" in notes
        assert "Ollama loads tiny: 1 s" in notes
        assert all(report.fraction is None for report in talk.reports)


def test_what_we_loaded_is_unloaded_and_its_note_dropped(server: FakeOllama) -> None:
    folder = paths.state() / "holdings"
    with Talk(server):
        assert list(server.loaded) == ["tiny:latest"]
        noted = msgspec.json.decode(next(folder.glob("*.json")).read_bytes())
        assert noted["backend"] == "ollama"
        assert msgspec.json.decode(noted["holding"]) == {"server": server.url, "model": "tiny"}
    assert server.loaded == {}
    assert list(folder.glob("*")) == []


def test_what_others_loaded_is_shared_as_it_is_and_never_unloaded(server: FakeOllama) -> None:
    server.loaded["tiny:latest"] = before = InMemory(
        8192, 0, "24h", options=dict.fromkeys(("num_gpu", "num_thread", "num_batch", "use_mmap", "main_gpu"))
    )
    with Talk(server, context=2048) as talk:
        assert talk.ask().text
        assert talk.loaded is not None
        assert talk.loaded.context == 8192
        assert any("Another program had this model loaded" in note for note in talk.loaded.notes)
    assert server.loaded["tiny:latest"] is before, "it was loaded anew"
    assert before.keep_alive == "24h"
    assert all("keep_alive" not in body and "shift" not in body for body in server.bodies("/api/chat"))
    assert not (paths.state() / "holdings").exists()


def test_what_others_loaded_too_small_is_loaded_anew_and_said(server: FakeOllama) -> None:
    server.loaded["tiny:latest"] = InMemory(2048, 0, "24h")
    with Talk(server, context=4096) as talk:
        assert talk.loaded is not None
        assert talk.loaded.context == 4096
        assert any("with a context of 2,048; Ollama loaded it anew for both" in note for note in talk.loaded.notes)
    assert list(server.loaded) == ["tiny:latest"], "it was not ours to unload"


def test_a_preset_that_insists_on_more_is_told_what_that_means(server: FakeOllama) -> None:
    server.loaded["tiny:latest"] = InMemory(8192, 0, "24h")
    with Talk(server, gpu_layers=0) as talk:
        assert talk.loaded is not None
        assert any("settings differ" in note for note in talk.loaded.notes)


def test_a_stopped_load_ends_at_once_and_leaves_nothing(server: FakeOllama) -> None:
    server.load_s = 30.0
    cancel = Cancel()
    timer = later(0.5, cancel.set)
    started = time.monotonic()
    with pytest.raises(Cancelled):
        Talk(server).load(cancel)
    assert time.monotonic() - started < 2.5
    timer.join()
    assert until(lambda: server.left == ["/api/chat"]), "the server was not told by closing the line"
    assert server.loaded == {}
    assert not list((paths.state() / "holdings").glob("*"))


@pytest.mark.parametrize("path", ["/api/version", "/api/show", "/api/ps"])
def test_a_load_can_be_stopped_while_the_server_says_nothing(server: FakeOllama, path: str) -> None:
    def fault(handler: fake_ollama.Handler, where: str, _body: dict[str, Any]) -> bool:
        if where == path:
            handler.wait(30.0)
        return False

    server.fault = fault
    cancel = Cancel()
    timer = later(0.3, cancel.set)
    started = time.monotonic()
    with pytest.raises(Cancelled):
        Talk(server).load(cancel)
    assert time.monotonic() - started < 2.0
    timer.join()


def test_a_missing_model_is_named_with_the_command_that_fetches_it(server: FakeOllama) -> None:
    error = failed(server, "deepseek-r1:14b")
    assert isinstance(error, ModelNotFound)
    assert "deepseek-r1:14b" in error.title
    assert "ollama pull deepseek-r1:14b" in error.hint


def test_a_model_that_cannot_chat_is_refused(server: FakeOllama) -> None:
    server.models["embedder:latest"] = FakeModel(capabilities=("embedding",))
    error = failed(server, "embedder")
    assert isinstance(error, BadModelFile)
    assert "embedding" in error.detail


def test_a_modelfile_with_words_of_its_own_is_said(server: FakeOllama) -> None:
    server.models["tiny:latest"].modelfile = 'FROM x\nSYSTEM """You are a pirate."""\n'
    with Talk(server) as talk:
        assert talk.loaded is not None
        assert any("system prompt" in note for note in talk.loaded.notes)


def test_a_template_that_ends_each_message_is_said(server: FakeOllama) -> None:
    server.models["tiny:latest"].template = fake_ollama.GO_CLOSED
    with Talk(server) as talk:
        assert talk.loaded is not None
        assert talk.loaded.capabilities == ("seed", "prefix_reuse")
        assert any("unfinished answer" in note for note in talk.loaded.notes)


def test_a_server_that_cannot_refuse_a_long_prompt_is_said(server: FakeOllama) -> None:
    server.version = "0.11.0"
    with Talk(server) as talk:
        assert talk.loaded is not None
        assert any("0.11.0 drops the beginning" in note for note in talk.loaded.notes)


def test_an_older_server_that_tells_less_is_enough(server: FakeOllama) -> None:
    def fault(handler: fake_ollama.Handler, path: str, _body: dict[str, Any]) -> bool:
        if path == "/api/ps":
            models = [{"name": name, "model": name} for name in server.loaded]
            handler.reply(200, {"models": models})
        elif path == "/api/show":
            handler.reply(200, {"template": fake_ollama.GO_OPEN, "model_info": {}})
        return path in ("/api/ps", "/api/show")

    server.fault = fault
    with Talk(server) as talk:
        loaded = talk.loaded
        assert loaded is not None
        assert (loaded.context, loaded.trained_context, loaded.model_bytes, loaded.vram_bytes) == (
            4096,
            None,
            None,
            None,
        )
        assert talk.ask().text


def test_a_server_that_only_a_preset_names_must_be_confirmed() -> None:
    with pytest.raises(NewOrigin) as caught:
        OllamaBackend().load("x", OllamaOptions(host="http://gpu.example:11434"), lambda _: None, Cancel())
    assert caught.value.detail == "http://gpu.example:11434"


def test_a_server_of_the_environment_needs_no_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    # A name that no test may look up: so it was tried.
    monkeypatch.setenv("OLLAMA_HOST", "http://gpu.invalid:11434")
    with pytest.raises(Exception, match=r"gpu\.invalid") as caught:
        OllamaBackend().load("x", OllamaOptions(), lambda _: None, Cancel())
    assert not isinstance(caught.value, NewOrigin)


def test_a_key_of_the_clients_environment_goes_to_no_server(
    server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "secret")
    with Talk(server) as talk:
        talk.ask()
    assert server.headers
    assert all("authorization" not in headers for headers in server.headers)


def test_a_proxy_of_the_environment_never_sees_local_traffic(
    server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Talk(server) as talk:
        assert talk.ask().text


def test_check_says_which_version_answers_and_keeps_nothing(server: FakeOllama) -> None:
    said = OllamaBackend.check(OllamaOptions(host=server.url))
    assert said.ready
    assert said.version == "0.33.0"
    assert not said.lasting
    assert "continue" in said.capabilities


def test_check_is_quick_where_the_server_says_nothing(server: FakeOllama) -> None:
    def fault(handler: fake_ollama.Handler, _path: str, _body: dict[str, Any]) -> bool:
        handler.wait(30.0)
        return False

    server.fault = fault
    started = time.monotonic()
    said = OllamaBackend.check(OllamaOptions(host=server.url))
    assert time.monotonic() - started < 3.0
    assert not said.ready
    assert said.detail
    assert said.hint


def test_check_says_what_to_do_where_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    said = OllamaBackend.check(OllamaOptions(host="http://127.0.0.1:9"))
    assert not said.ready
    assert not said.lasting
    assert "nstall" in said.hint
    assert said.startable == ""


def test_check_of_an_address_that_is_none_never_raises() -> None:
    said = OllamaBackend.check(OllamaOptions(host="http://a b"))
    assert not said.ready
    assert said.hint


def test_release_of_nonsense_or_of_a_dead_server_is_harmless() -> None:
    OllamaBackend.release("nonsense")
    OllamaBackend.release('{"server": "http://127.0.0.1:9", "model": "tiny"}')


def test_nobody_at_the_other_end_is_server_unreachable() -> None:
    with pytest.raises(ServerUnreachable):
        OllamaBackend().load("x", OllamaOptions(host="http://127.0.0.1:9"), lambda _: None, Cancel())


def test_a_file_that_another_name_had_loaded_is_not_taken_away(server: FakeOllama) -> None:
    def fault(handler: fake_ollama.Handler, path: str, _body: dict[str, Any]) -> bool:
        if path == "/api/ps":
            handler.reply(200, {"models": [{"name": "alias:latest", "model": "alias:latest", "context_length": 4096}]})
        return path == "/api/ps"

    server.fault = fault
    with Talk(server) as talk:
        assert talk.loaded is not None
        assert any("under another name" in note for note in talk.loaded.notes)
        assert talk.ask().text
    assert not [body for body in server.bodies("/api/generate") if body.get("keep_alive") == 0]
    assert not list((paths.state() / "holdings").glob("*"))
