"""A slow OpenAI-compatible server is waited for, and can be left at any moment."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from backends.base import Cancel, Cancelled, ChatRequest
from backends.errors import ServerError, ServerUnreachable
from backends.events import ChatEvent, Text
from backends.openai import OpenAIBackend, engine
from backends.openai.options import OpenAIOptions
from tests.backends.fake_openai import FakeOpenAI, Handler
from tests.backends.openai_talk import (
    HELLO,
    Talk,
    asked,
    begun,
    failed,
    later,
    on_chat,
    on_path,
    options,
    refuse,
    serving,
    until,
)


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with serving() as server:
        yield server


def mute(handler: Handler) -> None:
    """Say nothing for long; the client is noticed when it leaves."""
    handler.wait(30.0)


def test_a_server_that_loads_its_model_is_waited_for_and_the_wait_is_told(server: FakeOpenAI) -> None:
    server.loading = 3
    with Talk(server) as talk:
        notes = [report.note for report in talk.reports]
        assert notes[0] == f"asking {server.host}"
        assert notes[1] == f"{server.host} is loading its model: 0 s"
        assert len(notes) == 4
        assert notes[3] != notes[1], "the seconds do not pass"
        assert all(report.fraction is None for report in talk.reports)
        assert talk.ask().text


def test_waiting_for_a_model_to_be_loaded_can_be_stopped(server: FakeOpenAI) -> None:
    server.loading = 1000
    cancel = Cancel()
    later(0.3, cancel.set)
    started = time.monotonic()
    with pytest.raises(Cancelled):
        Talk(server).load(cancel)
    assert time.monotonic() - started < 3.0
    assert len(server.asked) < 4, "it is asked twice a second and no more"


def test_a_server_that_is_not_ready_for_another_reason_is_not_waited_for(server: FakeOpenAI) -> None:
    on_path(server, "/models", refuse(503, {"error": {"message": "no worker is there"}}))
    error = failed(server)
    assert isinstance(error, ServerError)
    assert "no worker" in error.detail
    assert len(server.asked) == 1


def test_a_server_that_begins_to_load_in_between_says_so(server: FakeOpenAI) -> None:
    _, error = asked(server, refuse(503, {"error": {"message": "Loading model", "type": "unavailable_error"}}))
    assert isinstance(error, ServerError)
    assert "not ready" in error.title
    assert "loading" in error.hint


@pytest.mark.parametrize(
    ("kind", "path"),
    [("plain", "/v1/models"), ("vllm", "/version"), ("llama_server", "/props"), ("lm_studio", "/api/v0/models")],
)
def test_a_load_can_be_stopped_while_the_server_says_nothing(kind: str, path: str) -> None:
    with serving(kind) as server:
        on_path(server, path, mute)
        cancel = Cancel()
        later(0.3, cancel.set)
        started = time.monotonic()
        with pytest.raises(Cancelled):
            Talk(server).load(cancel)
        assert time.monotonic() - started < 3.0
        assert until(lambda: server.left == [path])


def test_a_load_that_was_stopped_before_it_began_asks_nobody(server: FakeOpenAI) -> None:
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        Talk(server).load(cancel)
    assert server.asked == []


def test_a_server_that_takes_the_line_and_says_nothing_can_be_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        cancel, here = Cancel(), OpenAIOptions(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1")
        later(0.3, cancel.set)
        started = time.monotonic()
        with pytest.raises(Cancelled):
            OpenAIBackend().load("x", here, lambda _report: None, cancel)
        assert time.monotonic() - started < 3.0


def test_a_server_that_needs_its_time_for_the_prompt_is_waited_for(server: FakeOpenAI) -> None:
    server.prefill_s = 1.2
    with Talk(server) as talk:
        answer = talk.ask()
    assert answer.done.reason == "stop"
    assert answer.done.timings.prefill_s is not None
    assert 1.2 <= answer.done.timings.prefill_s <= answer.wall_s


def test_a_stop_before_the_first_word_is_heard_at_once(server: FakeOpenAI) -> None:
    server.prefill_s = 30.0
    cancel = Cancel()
    with Talk(server) as talk:
        later(0.3, cancel.set)
        answer = talk.ask(cancel=cancel)
        assert answer.done.reason == "stopped"
        assert answer.text == ""
        assert answer.done.usage.output_tokens == 0
        assert answer.wall_s < 3.0
        assert until(lambda: server.left == ["/v1/chat/completions"])
        server.prefill_s = 0.0
        assert talk.ask().text


def test_a_stop_in_mid_answer_keeps_what_was_said_and_ends_the_servers_work(server: FakeOpenAI) -> None:
    server.models["tiny"] = lambda _question: "on and on " * 5000
    server.token_s = 0.01
    cancel = Cancel()
    with Talk(server) as talk:
        later(0.3, cancel.set)
        answer = talk.ask(cancel=cancel)
        assert answer.done.reason == "stopped"
        assert answer.wall_s < 3.0
        assert answer.text.startswith("on and on")
        assert answer.done.usage.output_tokens == len(answer.text.split())
        assert answer.done.usage.prompt_tokens is None
        assert until(lambda: server.left == ["/v1/chat/completions"])


def test_a_stop_while_the_server_has_fallen_silent_is_heard(server: FakeOpenAI) -> None:
    def say(handler: Handler) -> None:
        begun(handler)
        mute(handler)

    on_chat(server, say)
    cancel = Cancel()
    with Talk(server) as talk:
        later(0.3, cancel.set)
        answer = talk.ask(cancel=cancel)
        assert answer.done.reason == "stopped"
        assert answer.text == "One two"
        assert answer.wall_s < 3.0
        assert talk.ask().done.reason == "stop"


@pytest.mark.parametrize(("kind", "path"), [("vllm", "/tokenize"), ("llama_server", "/apply-template")])
def test_a_stop_while_the_server_counts_is_heard(kind: str, path: str) -> None:
    with serving(kind) as server, Talk(server) as talk:
        on_path(server, path, mute)
        cancel = Cancel()
        later(0.3, cancel.set)
        answer = talk.ask(cancel=cancel)
        assert answer.done.reason == "stopped"
        assert answer.wall_s < 3.0
        assert server.chats() == []


def test_an_answer_that_was_stopped_before_it_began_is_not_asked_for(server: FakeOpenAI) -> None:
    cancel = Cancel()
    cancel.set()
    with Talk(server) as talk:
        assert talk.ask(cancel=cancel).done.reason == "stopped"
    assert server.chats() == []


def test_a_stop_after_the_end_shuts_nothing(server: FakeOpenAI) -> None:
    cancel = Cancel()
    with Talk(server) as talk:
        assert talk.ask(cancel=cancel).done.reason == "stop"
        cancel.set()
        assert talk.ask().done.reason == "stop"


def test_an_answer_that_nobody_reads_on_is_given_up(server: FakeOpenAI) -> None:
    server.models["tiny"] = lambda _question: "on and on " * 5000
    server.token_s = 0.01
    with Talk(server) as talk:
        stream = talk.backend.chat(ChatRequest(HELLO), Cancel())
        assert isinstance(next(stream), Text)
        stream.close()
        assert until(lambda: server.left == ["/v1/chat/completions"])


def test_a_server_that_stays_silent_for_too_long_has_fallen_silent(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SILENCE_S", 0.4)

    def say(handler: Handler) -> None:
        begun(handler)
        mute(handler)

    answer, error = asked(server, say)
    assert answer.text == "One two"
    assert isinstance(error, ServerUnreachable)
    assert "silent" in error.title


def test_comments_in_between_keep_a_slow_answer_alive(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SILENCE_S", 1.0)

    def say(handler: Handler) -> None:
        handler.begin()
        for _ in range(5):
            handler.data(b": keep-alive\n\n")
            time.sleep(0.3)
        handler.event({"delta": {"content": "At last."}}, "stop")
        handler.end()

    on_chat(server, say)
    with Talk(server) as talk:
        assert talk.ask().text == "At last."


def test_words_are_told_as_they_come_and_not_at_the_end(server: FakeOpenAI) -> None:
    server.models["tiny"] = lambda _question: "one two three four five"
    server.token_s = 0.2
    heard: list[float] = []

    def hear(event: ChatEvent) -> None:
        if isinstance(event, Text):
            heard.append(time.monotonic())

    with Talk(server) as talk:
        talk.ask(heard=hear)
    assert len(heard) >= 5
    assert heard[4] - heard[0] > 0.6


def test_check_is_quick_where_the_server_says_nothing(server: FakeOpenAI) -> None:
    def fault(handler: Handler, _path: str, _body: dict[str, Any]) -> bool:
        mute(handler)
        return True

    server.fault = fault
    started = time.monotonic()
    said = OpenAIBackend.check(options(server))
    assert time.monotonic() - started < 3.0
    assert not said.ready
    assert "silent" in said.detail
    assert said.hint
