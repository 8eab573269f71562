"""What an answer of an OpenAI-compatible server took: tokens, time, money, and why it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from backends.base import Message, Sampling
from backends.errors import BackendError, ContextOverflow, ServerError
from backends.events import Cost, PromptProgress, Reasoning, Text
from tests.backends.fake_ollama import TOKEN
from tests.backends.fake_openai import FakeOpenAI, Handler, prompt_of
from tests.backends.openai_talk import (
    HELLO,
    LONG_TALK,
    Answer,
    Talk,
    last,
    on_path,
    piece,
    refuse,
    script,
    serving,
    thought,
)

PRICE = {"input_per_million": 2.0, "cached_input_per_million": 0.5, "output_per_million": 10.0, "currency": "EUR"}
TOO_LONG = {
    "object": "error",
    "message": "The input (900 tokens) is longer than the model's context length (512 tokens).",
}
WORDS = (Message("user", "word " * 400),)


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with serving() as server:
        yield server


def answer_with(server: FakeOpenAI, *events: dict[str, Any], **fields: Any) -> Answer:
    script(server, *events)
    with Talk(server, **fields) as talk:
        return talk.ask()


def usage(prompt: int | None = 30, completion: int | None = 6, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **more}}


@pytest.mark.parametrize(
    ("more", "cached"),
    [
        ({}, None),
        ({"prompt_tokens_details": {"cached_tokens": 12}}, 12),
        ({"prompt_tokens_details": {"cached_tokens": 0}}, 0),
        ({"prompt_tokens_details": None}, None),
        ({"prompt_cache_hit_tokens": 24, "prompt_cache_miss_tokens": 6}, 24),
        ({"prompt_cache_hit_tokens": 24, "prompt_tokens_details": {"cached_tokens": 24}}, 24),
        ({"prompt_tokens_details": {"cached_tokens": 99}}, 30),
    ],
)
def test_cached_tokens_are_read_in_each_dialect(server: FakeOpenAI, more: dict[str, Any], cached: int | None) -> None:
    told = answer_with(server, piece("One"), piece(" two"), last(), usage(**more)).done.usage
    assert (told.prompt_tokens, told.cached_tokens) == (30, cached)


def test_llama_server_tells_what_was_cached_beside_its_times(server: FakeOpenAI) -> None:
    clock = {"cache_n": 21, "prompt_n": 9, "prompt_ms": 90.0, "predicted_n": 6, "predicted_ms": 500.0}
    done = answer_with(server, piece("One"), last(timings=clock), usage()).done
    assert (done.usage.prompt_tokens, done.usage.cached_tokens) == (30, 21)


def test_the_counts_are_the_servers_and_the_events_add_up_to_them(server: FakeOpenAI) -> None:
    answer = answer_with(server, thought("Hm"), piece("One"), piece(" two"), last(), usage())
    told = answer.done.usage
    assert (told.prompt_tokens, told.reasoning_tokens, told.output_tokens) == (30, 1, 5)
    assert sum(event.tokens for event in answer.events if isinstance(event, Reasoning | Text)) == 5


def test_the_token_that_ends_an_answer_counts_only_where_there_was_one(server: FakeOpenAI) -> None:
    assert answer_with(server, piece("One"), last("stop"), usage()).done.usage.output_tokens == 5
    assert answer_with(server, piece("One"), last("length"), usage()).done.usage.output_tokens == 6
    counted = {"prompt_tokens": 30, "completion_tokens": 6}
    assert answer_with(server, piece("One"), piece(" two.", "stop", usage=counted)).done.usage.output_tokens == 5


def test_counts_that_come_with_each_piece_stand_with_each_piece(server: FakeOpenAI) -> None:
    words = [("One", 1), (" two three", 3), (" four", 4)]
    pieces = [piece(text, usage={"prompt_tokens": 30, "completion_tokens": count}) for text, count in words]
    answer = answer_with(server, *pieces, last(), usage(completion=5))
    texts = [event for event in answer.events if isinstance(event, Text) and event.text]
    assert [event.tokens for event in texts] == [1, 2, 1]
    assert answer.done.usage.output_tokens == 4


def test_tokens_of_a_thought_that_the_server_counts_are_believed(server: FakeOpenAI) -> None:
    details: dict[str, Any] = {"completion_tokens_details": {"reasoning_tokens": 4}}
    events = [thought("Let me"), piece("Yes"), piece("."), last()]
    assert answer_with(server, *events, usage(completion=7, **details)).done.usage.reasoning_tokens == 4
    assert answer_with(server, *events, usage(completion=3, **details)).done.usage.reasoning_tokens == 3
    assert answer_with(server, *events, usage(completion=7)).done.usage.reasoning_tokens == 1


def test_what_the_server_does_not_count_is_counted_in_pieces_and_its_prompt_is_unknown(server: FakeOpenAI) -> None:
    told = answer_with(server, piece("One"), piece(" two"), last()).done.usage
    assert (told.prompt_tokens, told.cached_tokens, told.output_tokens) == (None, None, 2)
    told = answer_with(server, piece("One"), last(), usage(None, None)).done.usage
    assert (told.prompt_tokens, told.cached_tokens, told.output_tokens) == (None, None, 1)


def test_the_times_of_llama_server_are_its_own(server: FakeOpenAI) -> None:
    clock = {"prompt_ms": 250.0, "predicted_n": 11, "predicted_ms": 2000.0, "predicted_per_second": 5.5}
    timings = answer_with(server, piece("One"), last(timings=clock), usage()).done.timings
    assert timings.prefill_s == 0.25
    assert timings.decode_s == 2.0
    assert timings.tokens_per_second == 5.0, "of the tokens after the first"


def test_the_times_of_others_are_measured_here(server: FakeOpenAI) -> None:
    def say(handler: Handler) -> None:
        handler.begin()
        time.sleep(0.3)
        for _ in range(5):
            handler.send(piece(" la"))
            time.sleep(0.1)
        handler.send(last())
        handler.end()

    on_path(server, "/completions", say)
    with Talk(server) as talk:
        answer = talk.ask()
    timings = answer.done.timings
    assert timings.load_s is None
    assert timings.prefill_s is not None
    assert timings.decode_s is not None
    assert timings.tokens_per_second is not None
    assert timings.prefill_s >= 0.3
    assert timings.decode_s >= 0.5
    assert timings.prefill_s + timings.decode_s <= answer.wall_s
    assert timings.tokens_per_second == pytest.approx(4 / timings.decode_s)


def test_an_answer_that_came_whole_has_no_speed(server: FakeOpenAI) -> None:
    timings = answer_with(server, piece("One two three", "stop", usage=usage()["usage"])).done.timings
    assert (timings.prefill_s, timings.decode_s, timings.tokens_per_second) == (None, None, None)


@pytest.mark.parametrize(
    ("said", "most", "counts", "reason"),
    [
        ("stop", None, usage(), "stop"),
        ("stop", 6, usage(completion=6), "stop"),
        ("eos", None, usage(), "stop"),
        ("tool_calls", None, usage(), "stop"),
        ("length", 6, usage(completion=6), "length"),
        ("max_tokens", 6, usage(completion=6), "length"),
        ("length", 1, None, "length"),
        ("length", 9, None, "context"),
        ("length", None, None, "context"),
        ("length", None, usage(4000, 96), "context"),
        ("length", 500, usage(4000, 95), "context"),
        ("length", None, usage(30, 600), "length"),
    ],
)
def test_the_reason_for_an_end(
    server: FakeOpenAI, said: str, most: int | None, counts: dict[str, Any] | None, reason: str
) -> None:
    script(server, piece("x"), last(said), *([counts] if counts else []))
    with Talk(server, context=4096) as talk:
        assert talk.ask(sampling=Sampling(max_tokens=most)).done.reason == reason


@pytest.mark.parametrize(
    ("price", "counts", "amount"),
    [
        (PRICE, usage(1_000_000, 500_001), 7.0),
        (PRICE, usage(1_000_000, 1, prompt_cache_hit_tokens=600_000), 1.1),
        ({**PRICE, "cached_input_per_million": None}, usage(1_000_000, 1, prompt_cache_hit_tokens=600_000), 2.0),
    ],
)
def test_an_answer_costs_what_the_preset_says(
    server: FakeOpenAI, price: dict[str, Any], counts: dict[str, Any], amount: float
) -> None:
    # Without a word: so the tokens are those of the counts alone.
    done = answer_with(server, last(), counts, price=price).done
    assert done.cost is not None
    assert done.cost == Cost(done.cost.amount, "EUR", "preset")
    assert done.cost.amount == pytest.approx(amount)


def test_what_is_not_counted_or_has_no_price_costs_an_unknown_amount(server: FakeOpenAI) -> None:
    assert answer_with(server, piece("One"), last(), price=PRICE).done.cost is None
    assert answer_with(server, piece("One"), last(), usage()).done.cost is None


@pytest.mark.parametrize("kind", ["vllm", "llama_server"])
def test_tokens_are_counted_by_the_servers_that_can(kind: str) -> None:
    talked = (Message("user", "Hi"), Message("assistant", "<think>\nHm.\n</think>\n\nHello."), Message("user", "And?"))
    with serving(kind) as server, Talk(server) as talk:
        counted = talk.backend.count_tokens(talked)
        shown = [{"role": one.role, "content": one.text.rpartition("\n\n")[2]} for one in talked]
        assert counted.exact
        assert counted.count == len(TOKEN.findall(prompt_of(shown)))
        body = server.asked[-1][1]
        assert body == ({"model": "tiny", "messages": shown} if kind == "vllm" else
                        {"content": prompt_of(shown), "add_special": True, "parse_special": True})  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path", "reply"),
    [
        ("vllm", "/tokenize", (404, {"detail": "Not Found"})),
        ("vllm", "/tokenize", (200, {"count": "many"})),
        ("vllm", "/tokenize", (200, [])),
        ("vllm", "/tokenize", (200, "<html>")),
        ("llama_server", "/tokenize", (500, "")),
        ("llama_server", "/tokenize", (200, {"tokens": 7})),
        ("llama_server", "/apply-template", (200, {"prompt": None})),
        ("llama_server", "/apply-template", (501, {"error": "no template"})),
    ],
)
def test_tokens_are_estimated_where_the_server_fails_to_count_them(
    kind: str, path: str, reply: tuple[int, Any]
) -> None:
    with serving(kind) as server, Talk(server) as talk:
        on_path(server, path, refuse(*reply))
        counted = talk.backend.count_tokens(WORDS)
        assert not counted.exact
        assert 300 < counted.count < 900
        assert talk.ask().text


def test_an_estimate_learns_from_what_the_server_read(server: FakeOpenAI) -> None:
    script(server, piece("x"), last(), usage(812, 2))
    with Talk(server) as talk:
        before = talk.backend.count_tokens(WORDS)
        talk.ask(WORDS)
        after = talk.backend.count_tokens(WORDS)
    assert (before.exact, after.exact) == (False, False)
    assert abs(after.count - 812) <= 2 < abs(before.count - 812)


@pytest.mark.parametrize("kind", ["vllm", "llama_server"])
def test_a_conversation_that_is_too_long_is_refused_before_it_is_sent(kind: str) -> None:
    with serving(kind, context=512) as server, Talk(server) as talk:
        answer = talk.ask(LONG_TALK)
        assert isinstance(answer.error, ContextOverflow)
        assert "802 tokens" in answer.error.detail
        assert "512" in answer.error.detail
        assert answer.events == []
        assert server.chats() == []
        assert talk.ask().text


@pytest.mark.parametrize("kind", ["vllm", "llama_server"])
def test_a_prompt_that_was_counted_is_told_when_it_is_sent_and_when_it_was_read(kind: str) -> None:
    with serving(kind) as server, Talk(server) as talk:
        events = talk.ask().events
        total = talk.backend.count_tokens(HELLO).count
    assert events[:2] == [PromptProgress(0, total), PromptProgress(total, total)]
    assert sum(isinstance(event, PromptProgress) for event in events) == 2


@pytest.mark.parametrize("words", [100, 4000])
def test_what_a_server_refuses_counts_as_too_long_from_then_on(words: int) -> None:
    talked = (Message("user", "lengthy " * words),)
    with serving("sglang", context=512) as server, Talk(server) as talk:
        before = talk.backend.count_tokens(talked).count
        on_path(server, "/completions", refuse(400, TOO_LONG))
        assert isinstance(talk.ask(talked).error, ContextOverflow)
        after = talk.backend.count_tokens(talked).count
    assert after > 512
    assert after >= before, "it was known to be longer"


@pytest.mark.parametrize(("words", "kind"), [(4000, ContextOverflow), (10, ServerError)])
def test_a_server_that_says_nothing_to_a_prompt_that_must_be_too_long(words: int, kind: type[BackendError]) -> None:
    with serving("sglang", context=512) as server, Talk(server) as talk:
        on_path(server, "/completions", refuse(500, ""))
        assert type(talk.ask((Message("user", "lengthy " * words),)).error) is kind
