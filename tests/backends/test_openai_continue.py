"""An unfinished answer goes on where the server lets it, in that server's way; "answer now" closes the thought."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from backends.base import Cancel, Message, Partial, ReasoningStyle, Sampling
from backends.errors import CannotContinue, ServerError
from backends.events import ChatEvent, Reasoning, Text
from tests.backends.fake_openai import Handler, prompt_of
from tests.backends.openai_talk import (
    HELLO,
    Talk,
    last,
    on_chat,
    on_path,
    piece,
    refuse,
    script,
    serving,
    thought,
    until,
)

THOUGHT = "First I look at it from the left, then from the right, and then I am none the wiser."
SAID = "It is what it is."
WHOLE = f"<think>\n{THOUGHT}\n</think>\n\n{SAID}"
CUT = Partial(THOUGHT, "It is what")
CUT_TEXT = f"<think>\n{THOUGHT}\n</think>\n\nIt is what"
THINKING = Partial(THOUGHT[:30], thinking=True)
RENDERED = prompt_of([{"role": "user", "content": "Hello"}])
ABLE = ["vllm", "sglang", "tabby", "llama_server"]
WAYS: list[tuple[str, bool, bool, ReasoningStyle]] = [
    ("vllm", True, True, "auto"),
    ("vllm", False, True, "think-tags"),
    ("vllm", False, False, "auto"),
    ("sglang", True, False, "auto"),
    ("sglang", False, True, "think-tags"),
    ("tabby", False, False, "auto"),
    ("llama_server", True, False, "auto"),
    ("llama_server", False, True, "think-tags"),
]
"""A kind of server, whether it takes the thought out, whether its template opens it, and what the preset says."""


@pytest.fixture(params=WAYS, ids=lambda way: "-".join(str(part) for part in way))
def talk(request: pytest.FixtureRequest) -> Iterator[Talk]:
    """A model that thinks, on each kind of server that can go on."""
    kind, splits, opened, _ = request.param
    with serving(kind, WHOLE) as server:
        server.splits, server.opened = splits, opened
        with Talk(server) as talk:
            yield talk


@pytest.fixture
def style(request: pytest.FixtureRequest) -> ReasoningStyle:
    found: ReasoningStyle = request.node.callspec.params["talk"][3]
    return found


def after(thoughts: int) -> tuple[Cancel, Any]:
    """A wish for an answer now, and what makes it when so many pieces of the thought were heard."""
    cancel, heard = Cancel(), []

    def hear(event: ChatEvent) -> None:
        if isinstance(event, Reasoning) and event.text:
            heard.append(event)
            cancel.hurried = len(heard) >= thoughts

    return cancel, hear


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (
            "vllm",
            {
                "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": CUT_TEXT}],
                "continue_final_message": True,
                "add_generation_prompt": False,
            },
        ),
        (
            "sglang",
            {
                "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": CUT_TEXT}],
                "continue_final_message": True,
                "add_generation_prompt": False,
            },
        ),
        ("tabby", {"messages": [{"role": "user", "content": "Hello"}], "response_prefix": CUT_TEXT}),
        ("llama_server", {"prompt": RENDERED + CUT_TEXT}),
    ],
)
def test_each_server_is_asked_to_go_on_in_its_own_way(kind: str, fields: dict[str, Any]) -> None:
    with serving(kind, WHOLE) as server, Talk(server, extra_body={"priority": 1}) as talk:
        answer = talk.ask(partial=CUT)
        chat = server.chats()[-1]
        common = ("model", "stream", "stream_options", "timings_per_token", "temperature", "top_p", "top_k", "min_p")
        others = (*common, "repetition_penalty", "repeat_penalty")
        assert {name: value for name, value in chat.items() if name not in others} == {**fields, "priority": 1}
        assert server.paths()[-1] == ("/v1/completions" if kind == "llama_server" else "/v1/chat/completions")
        assert (answer.thought, answer.text) == ("", " it is.")


def test_an_answer_goes_on_where_it_was_cut(talk: Talk, style: ReasoningStyle) -> None:
    answer = talk.ask(partial=CUT, reasoning=style)
    assert (answer.thought, answer.text) == ("", " it is.")
    answer = talk.ask(partial=THINKING, reasoning=style)
    assert answer.thought.strip() == THOUGHT[30:].strip()
    assert answer.text == SAID
    answer = talk.ask(partial=Partial(THOUGHT), reasoning=style)
    assert (answer.thought, answer.text) == ("", SAID)


@pytest.mark.parametrize("kind", ABLE)
def test_a_model_without_thoughts_goes_on_with_its_text_alone(kind: str) -> None:
    with serving(kind, SAID) as server, Talk(server) as talk:
        assert talk.ask(partial=Partial(text="It is"), reasoning="none").text == " what it is."
        sent = str(server.chats()[-1])
        assert "It is" in sent
        assert "<think>" not in sent


def test_the_rest_of_an_answer_is_no_thought_whatever_the_server_calls_it() -> None:
    with serving("vllm") as server, Talk(server) as talk:
        script(server, thought(" it"), thought(" is."), last())
        answer = talk.ask(partial=CUT)
    assert (answer.thought, answer.text) == ("", " it is.")


@pytest.mark.parametrize("kind", ["plain", "lm_studio", "deepseek"])
def test_a_server_that_cannot_go_on_says_so_before_anything_is_sent(kind: str) -> None:
    with serving(kind) as server, Talk(server) as talk:
        answer = talk.ask(partial=CUT)
        assert isinstance(answer.error, CannotContinue)
        assert answer.error.hint
        assert server.chats() == []


def test_an_empty_partial_is_a_new_answer_anywhere() -> None:
    with serving("plain") as server, Talk(server) as talk:
        assert talk.ask(partial=Partial()).text == SAID


@pytest.mark.parametrize("reply", [(200, {"prompt": 7}), (200, {}), (200, []), (500, {"error": "no template"})])
def test_a_server_that_does_not_render_the_prompt_is_told_of(reply: tuple[int, Any]) -> None:
    with serving("llama_server") as server, Talk(server) as talk:
        on_path(server, "/apply-template", refuse(*reply))
        error = talk.ask(partial=CUT).error
        assert isinstance(error, ServerError)
        assert error.hint
        assert server.chats() == []


def test_what_an_answer_begins_with_is_no_part_of_its_own_counts() -> None:
    with serving("vllm", WHOLE) as server, Talk(server) as talk:
        answer = talk.ask(partial=CUT)
        assert answer.done.usage.output_tokens == 2
        assert answer.done.usage.reasoning_tokens == 0


def test_answer_now_closes_the_thought_and_goes_on_with_the_answer(talk: Talk, style: ReasoningStyle) -> None:
    server = talk.server
    server.token_s = 0.02
    cancel, hear = after(3)
    answer = talk.ask(cancel=cancel, heard=hear, reasoning=style)
    assert 0 < len(answer.thought) < len(THOUGHT) - 10
    assert THOUGHT.startswith(answer.thought.strip())
    assert answer.text == SAID
    usage = answer.done.usage
    assert usage.output_tokens == sum(event.tokens for event in answer.events if isinstance(event, Reasoning | Text))
    assert 3 <= (usage.reasoning_tokens or 0) < 10
    assert len(server.chats()) == 2
    assert until(lambda: server.left), "the first request was not given up"


def test_answer_now_can_be_wished_for_in_a_thought_that_goes_on(talk: Talk, style: ReasoningStyle) -> None:
    talk.server.token_s = 0.02
    cancel, hear = after(2)
    answer = talk.ask(partial=THINKING, cancel=cancel, heard=hear, reasoning=style)
    assert THOUGHT[30:].startswith(answer.thought.rstrip())
    assert len(answer.thought) < len(THOUGHT) - 40
    assert answer.text == SAID


def test_answer_now_before_the_first_word_waits_for_one_and_asks_twice_at_most(
    talk: Talk, style: ReasoningStyle
) -> None:
    cancel = Cancel()
    cancel.hurried = True
    answer = talk.ask(cancel=cancel, reasoning=style)
    assert THOUGHT.startswith(answer.thought.strip())
    assert 0 < len(answer.thought.split()) < 4
    assert answer.text == SAID
    assert len(talk.server.chats()) == 2


def test_answer_now_is_not_taken_for_an_answer_by_an_event_without_a_word() -> None:
    with serving("llama_server") as server, Talk(server) as talk:
        role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]}
        script(server, role, piece("Hm.\n</think>\n\nYes."), last())
        cancel = Cancel()
        cancel.hurried = True
        answer = talk.ask(cancel=cancel, reasoning="think-tags")
        assert (answer.thought.strip(), answer.text) == ("Hm.", "Yes.")
        assert len(server.chats()) == 1


def test_answer_now_needs_no_further_word_of_a_thought_that_goes_on() -> None:
    def say(handler: Handler) -> None:
        handler.begin()
        handler.send({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})
        handler.send(thought("and on"))
        handler.wait(30.0)

    with serving("vllm", WHOLE) as server, Talk(server) as talk:
        on_chat(server, say)
        cancel = Cancel()
        cancel.hurried = True
        answer = talk.ask(partial=THINKING, cancel=cancel)
        assert (answer.thought, answer.text) == ("", SAID)
        assert server.chats()[-1]["messages"][-1]["content"].endswith(f"{THINKING.reasoning}\n</think>\n\n")


def test_answer_now_comes_too_late_for_an_answer_that_has_ended() -> None:
    with serving("vllm", WHOLE) as server, Talk(server) as talk:
        script(server, {"choices": [{"delta": {"reasoning": "Hm."}, "finish_reason": "stop"}]})
        cancel, hear = after(1)
        answer = talk.ask(cancel=cancel, heard=hear)
        assert cancel.hurried
        assert (answer.thought, answer.done.reason) == ("Hm.", "stop")
        assert len(server.chats()) == 1


def test_answer_now_tells_the_prompt_as_it_was_asked(talk: Talk, style: ReasoningStyle) -> None:
    whole = talk.ask(reasoning=style).done.usage.prompt_tokens
    talk.server.token_s = 0.01
    cancel, hear = after(3)
    usage = talk.ask(cancel=cancel, heard=hear, reasoning=style).done.usage
    assert whole is not None
    assert usage.prompt_tokens is not None
    assert abs(usage.prompt_tokens - whole) <= 3, "but for the tags"
    assert usage.cached_tokens is None


def test_answer_now_keeps_to_the_limit_of_tokens_for_both_parts(talk: Talk, style: ReasoningStyle) -> None:
    talk.server.token_s = 0.02
    cancel, hear = after(2)
    answer = talk.ask(cancel=cancel, heard=hear, reasoning=style, sampling=Sampling(max_tokens=6))
    assert answer.done.reason == "length"
    assert answer.done.usage.output_tokens == 6
    assert talk.server.chats()[0]["max_tokens"] == 6
    assert SAID.startswith(answer.text)
    assert answer.text


def test_answer_now_does_nothing_where_the_answer_has_begun(talk: Talk, style: ReasoningStyle) -> None:
    cancel = Cancel()

    def hear(event: ChatEvent) -> None:
        cancel.hurried = cancel.hurried or (isinstance(event, Text) and bool(event.text))

    answer = talk.ask(cancel=cancel, heard=hear, reasoning=style)
    assert cancel.hurried
    assert (answer.thought.strip(), answer.text) == (THOUGHT, SAID)
    assert len(talk.server.chats()) == 1


@pytest.mark.parametrize("kind", ["plain", "lm_studio", "deepseek"])
def test_answer_now_lets_a_model_think_on_that_cannot_be_continued(kind: str) -> None:
    with serving(kind, WHOLE) as server, Talk(server) as talk:
        cancel = Cancel()
        cancel.hurried = True
        answer = talk.ask((*HELLO, Message("user", "Again")), cancel=cancel)
        assert (answer.thought.strip(), answer.text) == (THOUGHT, SAID)
        assert len(server.chats()) == 1
