"""Answer now with a real model: the thought is closed as R1 writes it, wherever the wish comes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends.base import Cancel, ChatRequest, Message, Partial, Sampling
from backends.events import ChatEvent, Done, PromptProgress, Reasoning, Text
from backends.llama_cpp import LlamaCppBackend, LlamaCppOptions
from backends.llama_cpp.answer import answer
from backends.llama_cpp.loading import OpenModel
from backends.reasoning import initial_state
from backends.template import append_partial, compile_template

QUESTION = (Message("user", "Tell me about the sea."),)
GREEDY = Sampling(temperature=0, max_tokens=16)
# What comes before the answer, where the template opens the thought and where it leaves that to the model.
PLAIN = "<|im_start|>user\nTell me about the sea.<|im_end|>\n<|im_start|>assistant\n"
OPENED = PLAIN + "<think>\n"

# The wish was there before the answer began.
BEFORE = -1


class Scripted:
    """The engine's library, but the first tokens that are chosen are given.

    The wish comes while the token number `wish` is chosen. `accepted` are the tokens that the chain is told about.
    """

    def __init__(self, lib: Any, tokens: Sequence[int] = (), wish: int | None = None) -> None:
        self.cancel = Cancel()
        self.accepted: list[int] = []
        self._lib = lib
        self._tokens = tokens
        self._wish = wish
        self._chosen = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lib, name)

    def llama_sampler_sample(self, chain: int, context: int, place: int) -> int:
        number, self._chosen = self._chosen, self._chosen + 1
        self.cancel.hurried = self.cancel.hurried or number == self._wish
        if number < len(self._tokens):
            return self._tokens[number]
        return int(self._lib.llama_sampler_sample(chain, context, place))

    def llama_sampler_accept(self, chain: int, token: int) -> None:
        self.accepted.append(token)
        self._lib.llama_sampler_accept(chain, token)


@pytest.fixture(scope="module")
def backend(starter_gguf: Path) -> Iterator[LlamaCppBackend]:
    backend = LlamaCppBackend()
    options = LlamaCppOptions(context=256, threads=1, saved_chats_gib=0)
    backend.load(str(starter_gguf), options, lambda _progress: None, Cancel())
    yield backend
    backend.unload()


@pytest.fixture(scope="module")
def model(backend: LlamaCppBackend) -> OpenModel:
    return backend._opened()


def told(
    model: OpenModel,
    prompt: str = OPENED,
    script: Sequence[str | bytes] = (),
    wish: int | None = BEFORE,
    partial: Partial | None = None,
    sampling: Sampling = GREEDY,
) -> tuple[list[ChatEvent], Scripted]:
    """Answer `prompt` and the partial answer; the model's first tokens are those of `script`, bytes being one token."""
    vocabulary = model.vocabulary
    by_piece = {vocabulary.piece(token): token for token in range(model.lib.llama_vocab_n_tokens(vocabulary.handle))}
    tokens: list[int] = []
    for piece in script:
        tokens += [by_piece[piece]] if isinstance(piece, bytes) else vocabulary.tokenize(piece)
    lib = Scripted(model.lib, tokens, wish)
    lib.cancel.hurried = wish == BEFORE
    text = append_partial(prompt, partial, "auto")
    state = initial_state("auto", text, partial)
    continued = partial is not None
    events = answer(
        lib, model.decoder, vocabulary, vocabulary.prompt(text), sampling, state, lib.cancel, continued=continued
    )
    return list(events), lib


def thought(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Reasoning))


def said(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def done(events: list[ChatEvent]) -> Done:
    assert isinstance(events[-1], Done)
    return events[-1]


def seen(model: OpenModel) -> str:
    """Return what the model has before it, special tokens by their names."""
    pieces = [model.vocabulary._read_piece(token, special=True) for token in model.decoder.tokens]
    return b"".join(pieces).decode("utf-8", "replace")


def check_as_continued(model: OpenModel, events: list[ChatEvent], prompt: str, before: str = "") -> None:
    """The model has before it what a template would write to go on with the stored answer, but for the last token."""
    whole = append_partial(prompt, Partial(before + thought(events), said(events)), "auto")
    # Newlines that the model itself writes behind the end of its thought are not stored.
    engine = re.sub("</think>\n+", "</think>\n\n", seen(model))
    assert len(engine) > len(prompt)
    assert whole.startswith(engine)
    assert len(whole) - len(engine) < 20


@pytest.mark.parametrize(("prompt", "script"), [(OPENED, ()), (PLAIN, ("<think>\n",)), (OPENED, ("<think>\n",))])
def test_a_thought_is_closed_in_its_middle_whoever_opened_it(
    model: OpenModel, prompt: str, script: tuple[str, ...]
) -> None:
    wish = 2 + sum(len(model.vocabulary.tokenize(piece)) for piece in script)
    events, _ = told(model, prompt, (*script, "The sea is deep"), wish)
    assert thought(events) == "The sea is"
    assert said(events)
    assert done(events).reason == "length"
    if not (script and prompt == OPENED):  # a tag that the model repeats is not stored
        check_as_continued(model, events, prompt)


def test_what_was_put_in_counts_for_nothing(model: OpenModel) -> None:
    events, _ = told(model, script=("The sea is deep",), wish=2)
    usage = done(events).usage
    assert usage.output_tokens == GREEDY.max_tokens
    assert usage.reasoning_tokens == 3
    assert sum(event.tokens for event in events if isinstance(event, Reasoning)) == 3
    first = next(event for event in events if isinstance(event, Text))
    assert first == Text("", 0)  # the end of the thought shows before the answer's first token


def test_what_was_put_in_is_told_to_the_sampler_and_only_once(model: OpenModel) -> None:
    events, lib = told(model, script=("The sea is deep",), wish=2)
    assert b"".join(model.vocabulary.piece(token) for token in lib.accepted) == b"\n</think>\n\n"
    assert seen(model).count("</think>") == 1
    assert said(events).count("think>") == 0


def test_a_wish_that_came_before_the_first_token_lets_no_thought_begin(model: OpenModel) -> None:
    events, _ = told(model)
    assert thought(events) == ""
    assert said(events)
    assert "<|im_start|>assistant\n<think>\n\n</think>\n\n" in seen(model)
    check_as_continued(model, events, OPENED)


def test_a_wish_during_the_prefill_is_kept(model: OpenModel) -> None:
    model.decoder.forget()
    vocabulary, cancel, events = model.vocabulary, Cancel(), []
    for event in answer(model.lib, model.decoder, vocabulary, vocabulary.prompt(OPENED), GREEDY, "opened", cancel):
        cancel.hurried = cancel.hurried or isinstance(event, PromptProgress)
        events.append(event)
    assert thought(events) == ""
    assert said(events)


def test_a_wish_waits_for_the_thought_that_the_model_opens_itself(model: OpenModel) -> None:
    events, _ = told(model, PLAIN, ("<think>",))
    assert thought(events) == ""
    assert seen(model).startswith(PLAIN + "<think>\n\n</think>\n\n")
    assert done(events).usage.reasoning_tokens == len(model.vocabulary.tokenize("<think>"))


@pytest.mark.parametrize("before", ["The sea is deep.", "The sea is deep.\n"])
def test_a_thought_that_is_continued_can_be_closed_at_once(model: OpenModel, before: str) -> None:
    events, _ = told(model, partial=Partial(before, thinking=True))
    assert thought(events) == ""
    assert seen(model).startswith(OPENED + "The sea is deep.\n</think>\n\n")
    check_as_continued(model, events, OPENED, before)


def test_half_a_character_becomes_a_whole_one_first(model: OpenModel) -> None:
    pieces = [model.vocabulary.piece(token) for token in model.vocabulary.tokenize("🦈")]
    assert len(pieces) > 2
    for wish in range(1, len(pieces)):
        sampling = Sampling(temperature=0, max_tokens=len(pieces) + 2)
        events, _ = told(model, script=[b"A", *pieces, b"B"], wish=wish, sampling=sampling)
        assert (thought(events), said(events)) == ("A🦈", "B")
        check_as_continued(model, events, OPENED)


def test_half_a_tag_that_goes_on_as_text_is_part_of_the_thought(model: OpenModel) -> None:
    events, _ = told(model, script=[b"A", b"</", b"s", b">", b"B"], wish=1)
    assert thought(events) == "A</s"
    assert said(events)
    check_as_continued(model, events, OPENED)


def test_half_a_tag_that_becomes_the_end_of_the_thought_is_not_followed_by_another(model: OpenModel) -> None:
    events, lib = told(model, script=[b"A", b"</", b"think", b">", b"\n\n", b"B"], wish=1)
    assert thought(events) == "A"
    assert said(events).startswith("B")
    assert lib.accepted == []
    assert seen(model).count("</think>") == 1


def test_what_may_be_the_beginning_of_a_stop_string_is_not_lost(model: OpenModel) -> None:
    sampling = msgspec.structs.replace(GREEDY, stop=(" is never said",))
    events, _ = told(model, script=("The sea is deep",), wish=1, sampling=sampling)
    assert thought(events) == "The sea"
    events, _ = told(model, partial=Partial("The", thinking=True), script=(" sea is",), wish=None, sampling=sampling)
    assert thought(events).startswith(" sea is")


def test_outside_a_thought_it_does_nothing(model: OpenModel) -> None:
    plain, _ = told(model, PLAIN, wish=None)
    hurried, lib = told(model, PLAIN)
    assert said(hurried) == said(plain) != ""
    assert lib.accepted == []


def test_where_the_end_of_the_thought_does_not_fit_the_context_is_full(model: OpenModel) -> None:
    vocabulary = model.vocabulary
    room = model.decoder.capacity - len(vocabulary.prompt(OPENED)) - 3
    before = " sea" * room
    assert len(vocabulary.prompt(OPENED + before)) == model.decoder.capacity - 3
    events, _ = told(model, partial=Partial(before, thinking=True))
    assert done(events).reason == "context"
    assert (thought(events), said(events)) == ("", "")
    assert not any(isinstance(event, Text) for event in events)  # the thought is still open, to be gone on with


def test_a_stop_while_the_thought_is_being_closed_leaves_it_open(model: OpenModel) -> None:
    cancel = Cancel()
    cancel.hurried = True

    class Stopping(Scripted):
        """Is stopped in its second batch: the first is the prompt."""

        batches = 0

        def llama_decode(self, context: int, batch: Any) -> int:
            self.batches += 1
            if self.batches == 2:
                cancel.set()
            return int(self._lib.llama_decode(context, batch))

    model.decoder.forget()
    plain, model.decoder._lib = model.decoder._lib, Stopping(model.lib)
    try:
        prompt = model.vocabulary.prompt(OPENED)
        events = list(answer(model.lib, model.decoder, model.vocabulary, prompt, GREEDY, "opened", cancel))
    finally:
        model.decoder._lib = plain
    assert done(events).reason == "stopped"
    assert not any(isinstance(event, (Reasoning, Text)) for event in events)
    assert model.decoder.tokens == prompt


def test_the_backend_closes_the_thought_of_a_template_that_opens_one(backend: LlamaCppBackend) -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n<think>\n"
    )
    chats = backend._warm()
    before = chats.model
    chats.model = msgspec.structs.replace(before, template=compile_template(source))
    try:
        cancel, events = Cancel(), []
        for event in backend.chat(ChatRequest(QUESTION, Sampling(temperature=0, max_tokens=24)), cancel):
            events.append(event)
            cancel.hurried = cancel.hurried or thought(events).count(" ") > 4
    finally:
        chats.model = before
    assert thought(events).count(" ") in {5, 6}
    assert said(events)
    assert "answer_now" in LlamaCppBackend.check().capabilities
