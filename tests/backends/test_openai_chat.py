"""Answers of OpenAI-compatible servers: what is asked, and how every dialect of a stream is read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from backends.base import Message, Sampling
from backends.errors import BadOptions
from backends.events import Text
from tests.backends.fake_openai import KINDS, FakeOpenAI, Handler
from tests.backends.openai_talk import Talk, last, on_path, piece, refuse, script, serving, thought

THOUGHT = "First I look at it from the left, then from the right, and then I am none the wiser."
SAID = "It is what it is."
WHOLE = f"<think>\n{THOUGHT}\n</think>\n\n{SAID}"
WISHES = Sampling(
    temperature=0.5, top_p=0.9, top_k=40, min_p=0.1, repeat_penalty=1.2, frequency_penalty=0.3, presence_penalty=0.4,
    dry_multiplier=0.8, seed=7, max_tokens=50, stop=("END",),
)  # fmt: skip
COMMON = {
    "temperature": 0.5, "top_p": 0.9, "frequency_penalty": 0.3, "presence_penalty": 0.4, "max_tokens": 50, "seed": 7,
    "stop": ["END"],
}  # fmt: skip
STAGES = {"top_k": 40, "min_p": 0.1}
DRY = {"dry_multiplier": 0.8, "dry_base": 1.75, "dry_allowed_length": 2}
ASKED = {
    "plain": COMMON,
    "vllm": COMMON | STAGES | {"repetition_penalty": 1.2},
    "sglang": COMMON | STAGES | {"repetition_penalty": 1.2},
    "tabby": COMMON | STAGES | DRY | {"repetition_penalty": 1.2},
    "llama_server": COMMON | STAGES | DRY | {"repeat_penalty": 1.2},
    "lm_studio": COMMON | STAGES | {"repeat_penalty": 1.2},
    "deepseek": {name: value for name, value in COMMON.items() if name != "seed"},
}


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with serving(said=SAID) as server:
        yield server


def sampling_of(body: dict[str, Any]) -> dict[str, Any]:
    """What of a question is about how tokens are chosen."""
    others = ("model", "messages", "stream", "stream_options", "timings_per_token")
    return {name: value for name, value in body.items() if name not in others}


def test_a_question_says_all_that_matters_and_nothing_else(server: FakeOpenAI) -> None:
    with Talk(server) as talk:
        talk.ask()
    assert server.chats() == [
        {
            "model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "stream": True, "temperature": 0.6,
            "top_p": 0.95, "stream_options": {"include_usage": True},
        }
    ]  # fmt: skip
    assert server.headers[-1]["accept"] == "text/event-stream"
    assert server.headers[-1]["content-type"] == "application/json"


def test_thoughts_of_the_history_are_not_sent(server: FakeOpenAI) -> None:
    talked = (
        Message("system", "Be brief."), Message("user", "a"), Message("assistant", "<think>\nsecret\n</think>\n\nb"),
        Message("user", "<think>mine</think>"),
    )  # fmt: skip
    with Talk(server) as talk:
        talk.ask(talked)
    sent = [(message["role"], message["content"]) for message in server.chats()[-1]["messages"]]
    assert sent == [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "<think>mine</think>")]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_server_is_asked_for_all_that_it_knows(kind: str) -> None:
    with serving(kind) as server, Talk(server) as talk:
        talk.ask(sampling=WISHES)
        assert sampling_of(server.chats()[-1]) == ASKED[kind]


@pytest.mark.parametrize(
    ("kind", "off"),
    [
        ("vllm", {"top_k": -1, "min_p": 0, "repetition_penalty": 1}),
        ("sglang", {"top_k": -1, "min_p": 0, "repetition_penalty": 1}),
        ("tabby", {"top_k": 0, "min_p": 0, "repetition_penalty": 1}),
        ("llama_server", {"top_k": 0, "min_p": 0, "repeat_penalty": 1}),
        ("lm_studio", {"top_k": 0, "min_p": 0, "repeat_penalty": 1}),
        ("deepseek", {}),
        ("plain", {}),
    ],
)
def test_a_stage_that_is_off_is_switched_off_there_too(kind: str, off: dict[str, Any]) -> None:
    with serving(kind) as server, Talk(server) as talk:
        talk.ask(sampling=Sampling())
        assert sampling_of(server.chats()[-1]) == {"temperature": 0.6, "top_p": 0.95, **off}


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("plain", "OpenAI-compatible server takes no notice of top_k, min_p, repeat_penalty, dry_multiplier."),
        ("deepseek", "DeepSeek API takes no notice of top_k, min_p, repeat_penalty, dry_multiplier, seed."),
        ("vllm", "vLLM takes no notice of dry_multiplier."),
    ],
)
def test_a_wish_that_a_server_cannot_fulfil_is_said(kind: str, note: str) -> None:
    with serving(kind) as server, Talk(server) as talk:
        assert note in talk.ask(sampling=WISHES).notes
        assert [said for said in talk.ask().notes if said] == []


def test_the_presets_own_fields_stand_as_they_are_and_win(server: FakeOpenAI) -> None:
    with Talk(server, extra_body={"chat_template_kwargs": {"thinking": True}, "temperature": 1.5}) as talk:
        assert talk.ask().text == SAID
    (chat,) = server.chats()
    assert chat["chat_template_kwargs"] == {"thinking": True}
    assert chat["temperature"] == 1.5


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("vllm", {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
        ("llama_server", {"stream_options": {"include_usage": True}, "timings_per_token": True}),
        ("sglang", {"stream_options": {"include_usage": True}}),
    ],
)
def test_counts_are_asked_for_in_each_servers_way(kind: str, fields: dict[str, Any]) -> None:
    with serving(kind) as server, Talk(server) as talk:
        talk.ask()
        chat = server.chats()[-1]
        assert {name: chat[name] for name in ("stream_options", "timings_per_token") if name in chat} == fields


def test_no_tokens_at_all_are_not_asked_for(server: FakeOpenAI) -> None:
    with Talk(server) as talk:
        answer = talk.ask(sampling=Sampling(max_tokens=0))
    assert answer.done.reason == "length"
    assert answer.text == ""
    assert server.chats() == []


@pytest.mark.parametrize("kind", ["vllm", "llama_server"])
def test_no_more_tokens_are_asked_for_than_the_context_has_room_for(kind: str) -> None:
    with serving(kind, "on and on " * 200, context=300) as server, Talk(server) as talk:
        answer = talk.ask(sampling=Sampling(max_tokens=4000))
        (chat,) = server.chats()
        counted = talk.backend.count_tokens((Message("user", "Hello"),)).count
        assert chat["max_tokens"] == 300 - counted
        assert answer.done.reason == "context"


@pytest.mark.parametrize(
    ("kind", "field"), [("plain", "stream_options"), ("llama_server", "timings_per_token"), ("vllm", "seed")]
)
def test_a_field_that_a_server_refuses_is_left_out_from_then_on(kind: str, field: str) -> None:
    with serving(kind, SAID) as server, Talk(server) as talk:
        server.refuses = (field,)
        assert talk.ask(sampling=Sampling(seed=1)).text == SAID
        assert talk.ask(sampling=Sampling(seed=1)).text == SAID
        assert [field in chat for chat in server.chats()] == [True, False, False]
        with Talk(server) as again:
            again.ask(sampling=Sampling(seed=1))
        assert field in server.chats()[3], "another server may stand there after a load"


def test_several_fields_are_left_out_one_after_the_other(server: FakeOpenAI) -> None:
    server.refuses = ("seed", "stream_options")
    with Talk(server) as talk:
        assert talk.ask(sampling=Sampling(seed=1)).text == SAID
    assert len(server.chats()) == 3


def test_a_refusal_for_another_reason_is_not_hidden() -> None:
    with serving("vllm", SAID) as server, Talk(server) as talk:
        server.refuses = ("top_k",)
        error = talk.ask().error
        assert isinstance(error, BadOptions)
        assert "top_k" in error.detail
        assert len(server.chats()) == 1


def test_a_server_that_refuses_for_ever_is_not_asked_for_ever(server: FakeOpenAI) -> None:
    on_path(server, "/completions", refuse(400, {"error": "seed, stream_options: no"}))
    with Talk(server) as talk:
        assert isinstance(talk.ask(sampling=Sampling(seed=1)).error, BadOptions)
    assert len(server.chats()) == 2


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_a_thought_that_the_server_marks_is_one(server: FakeOpenAI, name: str) -> None:
    script(server, thought("\nLet me", name), thought(" see.\n", name), piece("\n\nYes"), piece("."), last())
    with Talk(server) as talk:
        answer = talk.ask()
    assert answer.thought == "Let me see.\n"
    assert answer.text == "Yes."
    assert answer.done.usage.reasoning_tokens == 2


def test_a_thought_in_tags_is_one_however_it_is_cut(server: FakeOpenAI) -> None:
    for cut in range(1, 12):
        script(server, *[piece(WHOLE[at : at + cut]) for at in range(0, len(WHOLE), cut)], last())
        with Talk(server) as talk:
            answer = talk.ask()
        assert (answer.thought.strip(), answer.text) == (THOUGHT, SAID), f"cut into pieces of {cut}"


def test_a_thought_that_the_template_opened_needs_only_its_end(server: FakeOpenAI) -> None:
    script(server, piece("Let me see."), piece("\n</th"), piece("ink>\n\nYes"), piece("."), last())
    with Talk(server) as talk:
        answer = talk.ask(reasoning="think-tags")
        assert (answer.thought.strip(), answer.text) == ("Let me see.", "Yes.")
        answer = talk.ask(reasoning="auto")
        assert (answer.thought, answer.text) == ("", "Let me see.\n</think>\n\nYes.")


def test_a_model_that_does_not_think_says_what_it_says(server: FakeOpenAI) -> None:
    script(server, thought("Hm. "), piece(WHOLE), last())
    with Talk(server) as talk:
        answer = talk.ask(reasoning="none")
    assert answer.thought == ""
    assert answer.text == "Hm. " + WHOLE


def test_the_end_of_a_thought_shows_before_the_answer_begins(server: FakeOpenAI) -> None:
    script(server, thought("Hm."), piece("\n\n"), piece("Yes."), last())
    with Talk(server) as talk:
        events = [event for event in talk.ask().events if isinstance(event, Text)]
    assert [(event.text, event.tokens) for event in events[:1]] == [("", 0)]
    assert "".join(event.text for event in events) == "Yes."


@pytest.mark.parametrize("indent", [None, 2])
def test_a_whole_answer_in_one_object_is_read_too(server: FakeOpenAI, indent: int | None) -> None:
    message = {"role": "assistant", "content": SAID, "reasoning_content": THOUGHT}
    whole = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 26},
    }
    on_path(server, "/completions", refuse(200, json.dumps(whole, indent=indent)))
    with Talk(server) as talk:
        answer = talk.ask()
    assert (answer.thought, answer.text) == (THOUGHT, SAID)
    assert answer.done.usage.prompt_tokens == 9
    assert answer.done.usage.output_tokens == 25


STREAM = [
    b": OPENROUTER PROCESSING",
    b"",
    b"retry: 3000",
    b"id: 1",
    b"event: message",
    b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": null}}]}',
    b"",
    b'data:{"choices": [{"index": 0, "delta": {"content": "It is"}, "logprobs": null}], "usage": null}',
    b"",
    b"data:",
    b"",
    b'data: {"choices": [], "prompt_filter_results": []}',
    b"",
    b'data:   {"choices": [{"delta": {"content": " so."}, "finish_reason": "stop"}], "system_fingerprint": ""}  ',
    b"",
    b"data: [DONE]",
    b"",
]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n\n"])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_stream_is_read_in_whichever_form_it_comes(server: FakeOpenAI, end: bytes, before: bytes, size: int) -> None:
    content = before + end.join(STREAM)

    def say(handler: Handler) -> None:
        handler.begin()
        for at in range(0, len(content), size):
            handler.data(content[at : at + size])
        handler.end()

    on_path(server, "/completions", say)
    with Talk(server) as talk:
        answer = talk.ask()
    assert answer.text == "It is so."
    assert answer.done.reason == "stop"


def test_a_bom_before_the_first_event_is_no_part_of_it(server: FakeOpenAI) -> None:
    script(server, b'\xef\xbb\xbfdata: {"choices": [{"delta": {"content": "Yes."}}]}\n\n', last())
    with Talk(server) as talk:
        assert talk.ask().text == "Yes."


def test_a_character_that_ends_lines_elsewhere_ends_none_here(server: FakeOpenAI) -> None:
    said = "a\u0085b\u2028c\u2029d\u000be\u000cf\u001cg"
    script(server, piece(said), last())
    with Talk(server) as talk:
        assert talk.ask().text == said


def test_only_the_first_of_several_answers_is_told(server: FakeOpenAI) -> None:
    two = [{"index": 0, "delta": {"content": "one"}}, {"index": 1, "delta": {"content": "two"}}]
    script(server, {"choices": two}, last())
    with Talk(server) as talk:
        assert talk.ask().text == "one"


def test_stop_strings_end_the_answer_there(server: FakeOpenAI) -> None:
    with Talk(server) as talk:
        answer = talk.ask(sampling=Sampling(stop=(" what",)))
    assert answer.text == "It is"
    assert answer.done.reason == "stop"


def test_a_thousand_pieces_a_second_cost_little(server: FakeOpenAI) -> None:
    pieces = [piece(f" w{number}") for number in range(5000)]
    script(server, *pieces, last())
    with Talk(server) as talk:
        before = time.thread_time()
        answer = talk.ask()
        spent = time.thread_time() - before
    assert answer.text == "".join(f" w{number}" for number in range(5000))
    assert spent / len(pieces) < 0.00025, f"{spent / len(pieces) * 1e6:.0f} µs a piece: over a quarter of a core"
