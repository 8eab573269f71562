"""Answers through Ollama: what is sent, what is told, how thoughts, counts and the context are dealt with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from backends.base import Cancel, ChatRequest, Message, Partial, Sampling
from backends.errors import CannotContinue, ContextOverflow
from backends.events import ChatEvent, Done, Reasoning, Text
from tests.backends import fake_ollama
from tests.backends.fake_ollama import FakeModel, FakeOllama, Handler, InMemory
from tests.backends.ollama_talk import HELLO, Talk, later, serving, until

THOUGHT = "First I look at it from the left, then from the right, and then I am none the wiser."
SAID = "It is what it is."
WHOLE = f"<think>\n{THOUGHT}\n</think>\n\n{SAID}"
LONG_TALK = (Message("user", "a word and another " * 200),)


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    yield from serving(
        tiny=FakeModel(),
        r1=FakeModel(lambda _: WHOLE, capabilities=("completion", "thinking")),
        tags=FakeModel(lambda _: WHOLE),
        opened=FakeModel(lambda _: WHOLE.removeprefix("<think>\n"), fake_ollama.GO_THINK),
        jinja=FakeModel(lambda _: WHOLE, fake_ollama.JINJA),
        closed=FakeModel(lambda _: WHOLE, fake_ollama.GO_CLOSED),
    )


def script(server: FakeOllama, *lines: dict[str, Any]) -> None:
    """Answer each chat with these lines."""

    def fault(handler: Handler, path: str, body: dict[str, Any]) -> bool:
        if path != "/api/chat" or not body.get("messages"):
            return False
        handler.begin()
        for line in lines:
            handler.line(line)
        handler.end()
        return True

    server.fault = fault


def piece(text: str = "", thought: str = "") -> dict[str, Any]:
    return fake_ollama.said_in(False, thought, text)


def last(**fields: Any) -> dict[str, Any]:
    return {**piece(), "done": True, "done_reason": "stop", **fields}


def test_a_chat_says_all_that_matters_and_nothing_else(server: FakeOllama) -> None:
    with Talk(server, threads=2) as talk:
        talk.ask(sampling=Sampling(seed=7, max_tokens=50))
    (chat,) = server.chats()
    options = chat.pop("options")
    assert chat == {
        "model": "tiny", "stream": True, "truncate": False, "shift": False, "keep_alive": "30m",
        "messages": [{"role": "user", "content": "Hello"}],
    }  # fmt: skip
    assert options["num_ctx"] == 4096
    assert options["num_thread"] == 2
    assert options["seed"] == 7
    assert options["num_predict"] == 50
    assert options["top_k"] == 0


@pytest.mark.parametrize(("model", "think"), [("r1", True), ("tags", None)])
def test_a_thought_is_asked_for_only_where_the_model_has_any(
    server: FakeOllama, model: str, think: bool | None
) -> None:
    with Talk(server, model) as talk:
        talk.ask()
        assert server.chats()[-1].get("think") is think
        talk.ask(reasoning="none")
        assert server.chats()[-1].get("think") is (False if think else None)


@pytest.mark.parametrize("model", ["r1", "tags", "opened", "jinja", "closed"])
def test_a_thought_is_split_the_same_way_whoever_does_it(server: FakeOllama, model: str) -> None:
    with Talk(server, model) as talk:
        answer = talk.ask()
    assert answer.thought.strip() == THOUGHT
    assert answer.text == SAID


def test_thoughts_of_the_history_are_not_sent(server: FakeOllama) -> None:
    talked = (Message("user", "a"), Message("assistant", "<think>\nsecret\n</think>\n\nb"), Message("user", "c"))
    with Talk(server) as talk:
        talk.ask(talked)
    assert [message["content"] for message in server.chats()[-1]["messages"]] == ["a", "b", "c"]


def test_the_counts_are_the_servers_and_the_events_add_up_to_them(server: FakeOllama) -> None:
    script(server, piece("One"), piece(" two"), last(prompt_eval_count=30, eval_count=6, eval_duration=10**9))
    with Talk(server) as talk:
        answer = talk.ask()
    usage = answer.done.usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.reasoning_tokens, usage.output_tokens) == (30, None, 0, 5)
    assert sum(event.tokens for event in answer.events if isinstance(event, Text)) == 5
    assert answer.done.timings.decode_s == 1.0
    assert answer.done.timings.tokens_per_second == 5.0


def test_a_prompt_that_was_cached_is_not_made_into_a_speed(server: FakeOllama) -> None:
    script(server, piece("x"), last(prompt_eval_count=900, prompt_eval_duration=0, eval_count=2, eval_duration=0))
    with Talk(server) as talk:
        done = talk.ask().done
    assert done.usage.prompt_tokens == 900
    assert done.usage.cached_tokens is None
    assert done.timings.prefill_s is None
    assert done.timings.tokens_per_second is None


def test_what_the_server_does_not_count_is_unknown_and_not_zero(server: FakeOllama) -> None:
    script(server, piece("x"), piece("y"), last())
    with Talk(server) as talk:
        done = talk.ask().done
    assert done.usage.prompt_tokens is None
    assert done.usage.output_tokens is None
    assert done.timings.decode_s is None


def test_a_model_that_had_to_be_loaded_again_says_how_long_that_took(server: FakeOllama) -> None:
    script(server, piece("x"), last(load_duration=3 * 10**9))
    with Talk(server) as talk:
        assert talk.ask().done.timings.load_s == 3.0
    script(server, piece("x"), last(load_duration=10**7))
    with Talk(server) as talk:
        assert talk.ask().done.timings.load_s is None


@pytest.mark.parametrize(
    ("fields", "most", "reason"),
    [
        ({"done_reason": "stop"}, None, "stop"),
        ({"done_reason": "length", "eval_count": 1}, 1, "length"),
        ({"done_reason": "length", "eval_count": 1}, 9, "context"),
        ({"done_reason": "length", "eval_count": 1}, None, "context"),
        ({"done_reason": "stop", "prompt_eval_count": 4000, "eval_count": 200}, None, "context"),
        ({"done_reason": None}, None, "stop"),
    ],
)
def test_the_reason_for_an_end(server: FakeOllama, fields: dict[str, Any], most: int | None, reason: str) -> None:
    script(server, piece("x"), last(**fields))
    with Talk(server) as talk:
        assert talk.ask(sampling=Sampling(max_tokens=most)).done.reason == reason


def test_a_character_that_ends_lines_elsewhere_ends_none_here(server: FakeOllama) -> None:
    said = "a\u0085b\u2028c\u2029d\u000be\u000cf\u001cg"
    script(server, piece(said), last(eval_count=2))
    with Talk(server) as talk:
        assert talk.ask().text == said


def test_a_wish_that_ollama_cannot_fulfil_is_said(server: FakeOllama) -> None:
    with Talk(server) as talk:
        answer = talk.ask(sampling=Sampling(dry_multiplier=0.8))
        assert "DRY" in answer.notes[0]
        assert talk.ask().notes == []


def test_a_conversation_that_is_too_long_is_refused_and_not_truncated(server: FakeOllama) -> None:
    with Talk(server, context=256) as talk:
        answer = talk.ask(LONG_TALK)
        assert isinstance(answer.error, ContextOverflow)
        assert "802 tokens" in answer.error.detail
        assert "256" in answer.error.detail
        assert answer.events == []
        assert talk.ask().text


def test_an_old_server_that_would_truncate_is_not_even_asked(server: FakeOllama) -> None:
    server.version = "0.11.0"
    with Talk(server, context=256) as talk:
        answer = talk.ask(LONG_TALK)
    assert isinstance(answer.error, ContextOverflow)
    assert server.chats() == []


def test_an_old_server_that_truncated_all_the_same_is_found_out(server: FakeOllama) -> None:
    server.version = "0.11.0"
    script(server, piece("As"), piece(" if."), last(prompt_eval_count=128, eval_count=3))
    with Talk(server, context=2048) as talk:
        answer = talk.ask((Message("user", "a word and another " * 300),))
    assert isinstance(answer.error, ContextOverflow)
    assert "left out the beginning" in answer.error.title
    assert "128" in answer.error.detail
    assert answer.text == "As if.", "the answer is kept"


def test_counting_learns_from_what_the_server_read(server: FakeOllama) -> None:
    script(server, piece("x"), last(prompt_eval_count=812, eval_count=2))
    messages = (Message("user", "word " * 400),)
    with Talk(server) as talk:
        before = talk.backend.count_tokens(messages)
        talk.ask(messages)
        after = talk.backend.count_tokens(messages)
    assert not before.exact
    assert not after.exact
    assert abs(after.count - 812) <= 2 < abs(before.count - 812)


@pytest.mark.parametrize("model", ["r1", "tags", "jinja"])
def test_an_answer_goes_on_where_it_was_cut(server: FakeOllama, model: str) -> None:
    with Talk(server, model) as talk:
        answer = talk.ask(partial=Partial(THOUGHT, "It is what"))
        assert (answer.thought, answer.text) == ("", " it is.")
        answer = talk.ask(partial=Partial(THOUGHT[:30], thinking=True))
        assert answer.thought.strip() == THOUGHT[30:].strip()
        assert answer.text == SAID


def test_a_template_of_the_models_own_is_rendered_here_to_go_on(server: FakeOllama) -> None:
    with Talk(server, "jinja") as talk:
        talk.ask((Message("system", "Be brief."), *HELLO), partial=Partial(THOUGHT, "It is"))
    raw = server.bodies("/api/generate")[0]
    assert raw["raw"] is True
    assert raw["truncate"] is False
    assert raw["prompt"] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        f"<|im_start|>assistant\n<think>\n{THOUGHT}\n</think>\n\nIt is"
    )


def test_an_answer_that_cannot_go_on_says_so_before_anything_is_sent(server: FakeOllama) -> None:
    with Talk(server, "closed") as talk:
        answer = talk.ask(partial=Partial(text="It is"))
    assert isinstance(answer.error, CannotContinue)
    assert answer.error.hint
    assert server.chats() == []


def test_an_empty_partial_is_a_new_answer(server: FakeOllama) -> None:
    with Talk(server, "closed") as talk:
        assert talk.ask(partial=Partial()).text == SAID


@pytest.mark.parametrize("model", ["r1", "tags", "opened", "jinja"])
def test_answer_now_closes_the_thought_and_goes_on_with_the_answer(server: FakeOllama, model: str) -> None:
    server.token_s = 0.02
    cancel, heard = Cancel(), []

    def hurry(event: ChatEvent) -> None:
        if isinstance(event, Reasoning) and event.text:
            heard.append(event)
            cancel.hurried = len(heard) >= 3

    with Talk(server, model) as talk:
        answer = talk.ask(cancel=cancel, heard=hurry)
    assert 0 < len(answer.thought) < len(THOUGHT) - 10
    assert answer.text == SAID
    usage = answer.done.usage
    assert usage.output_tokens == sum(event.tokens for event in answer.events if isinstance(event, Reasoning | Text))
    assert 3 <= (usage.reasoning_tokens or 0) < 10
    assert until(lambda: server.left), "the first request was not given up"


def test_answer_now_keeps_to_the_limit_of_tokens_for_both_parts(server: FakeOllama) -> None:
    cancel = Cancel()

    def hurry(event: ChatEvent) -> None:
        cancel.hurried = isinstance(event, Reasoning)

    with Talk(server, "tags") as talk:
        answer = talk.ask(cancel=cancel, heard=hurry, sampling=Sampling(max_tokens=5))
    assert answer.done.reason == "length"
    assert answer.done.usage.output_tokens == 5


@pytest.mark.parametrize("model", ["tags", "r1"])
def test_answer_now_before_the_first_word_waits_for_one_and_asks_once_more(server: FakeOllama, model: str) -> None:
    cancel = Cancel()
    cancel.hurried = True
    with Talk(server, model) as talk:
        answer = talk.ask(cancel=cancel)
    assert answer.text == SAID
    assert answer.thought
    assert len(server.chats()) == 2


def test_answer_now_does_nothing_where_the_answer_has_begun(server: FakeOllama) -> None:
    cancel = Cancel()
    cancel.hurried = True
    with Talk(server) as talk:
        assert talk.ask(cancel=cancel).done.reason == "stop"
    assert len(server.chats()) == 1


def test_answer_now_lets_a_model_think_on_that_cannot_be_continued(server: FakeOllama) -> None:
    cancel = Cancel()
    cancel.hurried = True
    with Talk(server, "closed") as talk:
        answer = talk.ask(cancel=cancel)
    assert answer.thought.strip() == THOUGHT
    assert answer.text == SAID


def test_a_stop_ends_the_servers_work_too(server: FakeOllama) -> None:
    server.models["tiny:latest"].mind = lambda _: "on and on " * 5000
    server.token_s = 0.01
    cancel = Cancel()
    with Talk(server) as talk:
        later(0.3, cancel.set)
        answer = talk.ask(cancel=cancel)
        assert answer.done.reason == "stopped"
        assert answer.wall_s < 1.5
        assert answer.text
        assert until(lambda: server.left == ["/api/chat"])
        assert list(server.loaded) == ["tiny:latest"], "the model stays"


def test_a_stop_while_nothing_comes_is_heard_at_once(server: FakeOllama) -> None:
    server.prefill_s = 30.0
    cancel = Cancel()
    with Talk(server) as talk:
        later(0.3, cancel.set)
        answer = talk.ask(cancel=cancel)
        assert answer.done.reason == "stopped"
        assert answer.done.usage.output_tokens == 0
        assert answer.wall_s < 1.0
        server.prefill_s = 0.0
        assert talk.ask().text


def test_an_answer_that_nobody_reads_on_is_given_up(server: FakeOllama) -> None:
    server.models["tiny:latest"].mind = lambda _: "on and on " * 5000
    server.token_s = 0.01
    with Talk(server) as talk:
        stream = talk.backend.chat(ChatRequest(HELLO), Cancel())
        next(stream)
        stream.close()
        assert until(lambda: server.left == ["/api/chat"])


def test_the_context_that_another_program_chose_is_kept_in_each_request(server: FakeOllama) -> None:
    server.loaded["tiny:latest"] = InMemory(8192, 0, "24h")
    with Talk(server, context=1024) as talk:
        talk.ask()
    assert server.chats()[-1]["options"]["num_ctx"] == 8192


def test_a_thousand_pieces_a_second_cost_little(server: FakeOllama) -> None:
    pieces = [piece(f" w{number}") for number in range(5000)]
    script(server, *pieces, last(eval_count=5001))
    with Talk(server) as talk:
        before = time.thread_time()
        answer = talk.ask()
        spent = time.thread_time() - before
    assert answer.text == "".join(line["message"]["content"] for line in pieces)
    assert isinstance(answer.events[-1], Done)
    assert spent / len(pieces) < 0.00025, f"{spent / len(pieces) * 1e6:.0f} µs a piece: over a quarter of a core"


def test_no_tokens_at_all_are_not_asked_for(server: FakeOllama) -> None:
    with Talk(server) as talk:
        answer = talk.ask(sampling=Sampling(max_tokens=0))
    assert answer.done.reason == "length"
    assert answer.text == ""
    assert server.chats() == []


def test_an_answer_is_ended_before_a_server_drops_old_text_for_it(server: FakeOllama) -> None:
    server.models["tiny:latest"].mind = lambda _: "on and on " * 5000
    server.loaded["tiny:latest"] = InMemory(1024, 0, "24h", shift=True)
    with Talk(server, context=512) as talk:
        done = talk.ask().done
        assert done.reason == "context"
        assert 900 < (done.usage.output_tokens or 0) < 1024
        assert "shift" not in server.chats()[-1]
        assert talk.ask(sampling=Sampling(max_tokens=5)).done.reason == "length"
