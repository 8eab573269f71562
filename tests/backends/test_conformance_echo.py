"""The scripted backend keeps every promise of the interface."""

from __future__ import annotations

from typing import Any

from backends.base import Message, Sampling
from backends.conformance import BackendConformance, Failing, Setup
from backends.echo import EchoBackend
from backends.errors import BackendError, BadOptions, OutOfMemory

SENTENCE = "The sea is wide and blue, and nobody has ever seen the whole of it at once."
THOUGHT = "They ask about the sea. It is large, and it is blue, and there are fish in it."
LONG = (Message("user", "word " * 400),)


def echo(messages: tuple[Message, ...] = (Message("user", "What is the sea?"),), **options: Any) -> Setup:
    return Setup("model", options, messages, Sampling(temperature=0, seed=1), text=options.get("text"))


class TestEcho(BackendConformance):
    backend = EchoBackend

    def plain(self) -> Setup:
        return echo(text=SENTENCE)

    def slow_decode(self) -> Setup:
        return echo(text=SENTENCE, tokens_per_second=10.0)

    def broken(self) -> list[Failing]:
        return [
            Failing("a model that is too large", echo(fail="load"), OutOfMemory),
            Failing("an option of a wrong type", echo(repeat="often"), BadOptions),
        ]

    def thinking(self) -> Setup:
        return Setup("model", {"text": SENTENCE, "reasoning": THOUGHT}, text=SENTENCE, thought=THOUGHT)

    def unicode(self) -> Setup:
        return echo(text="Das Meer 海は広い 🌊 — ﷽ е́ 👩‍👩‍👧‍👦")

    def slow_load(self) -> Setup:
        return echo(text=SENTENCE, load_s=1.0)

    def slow_prefill(self) -> Setup:
        return echo(LONG, text=SENTENCE, prefill_tokens_per_second=200.0)

    def small_context(self) -> Setup:
        return echo(text=SENTENCE, context=256)

    def full_context(self) -> Setup:
        return echo(context=256, text="again and again ", repeat=1000)

    def failing_answer(self) -> Failing:
        return Failing("an engine that fails in mid-answer", echo(text=SENTENCE, fail="decode"), BackendError)

    def empty_answer(self) -> Setup:
        return echo((Message("system", "Say what I say."), Message("user", "")))
