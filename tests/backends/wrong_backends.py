"""Backends that break a promise each, and one that keeps them all: what the conformance class is tested with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

from backends.base import Backend, Cancel, ChatRequest, Loaded, Message
from backends.conformance import BackendConformance, Failing, Setup
from backends.echo import EchoBackend, EchoOptions
from backends.errors import ModelNotFound, OutOfMemory
from backends.events import ChatEvent, Done, LoadProgress, PromptProgress

SENTENCE = "The sea is wide and blue, and nobody has ever seen the whole of it at once."
THOUGHT = "They ask about the sea. It is large, and it is blue, and there are fish in it."
HELD = {"bytes": 0}
"""What loaded models hold, and `SENT` what was sent: both are the test's own world, reset for each promise."""
SENT: list[str] = []

Events = Iterator[ChatEvent]
Change = Callable[[Events], Iterable[ChatEvent]]


class RightBackend(EchoBackend):
    """The scripted backend, with models that can be missing, memory that can be seen and a server that hears it."""

    def load(self, model: str, options: EchoOptions, report: Callable[[LoadProgress], None], cancel: Cancel) -> Loaded:
        if model == "missing":
            raise ModelNotFound("The model is not there", model, "Name another one.")
        loaded = super().load(model, options, report, cancel)
        HELD["bytes"] += 1_000_000
        return loaded

    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        SENT.append(" ".join(message.text for message in request.messages))
        yield from super().chat(request, cancel)

    def unload(self) -> None:
        if self._ready:
            HELD["bytes"] -= 1_000_000
        super().unload()


class Right(BackendConformance):
    """Provides every scenario, and is in a hurry."""

    backend: ClassVar[type[Backend]] = RightBackend
    stop_bound_s = 0.4
    check_bound_s = 0.2
    patience_s = 2.5

    def _setup(self, model: str = "model", question: str = "What is the sea?", **options: Any) -> Setup:
        messages = (Message("system", "Be kind."), Message("user", question))
        options = {"text": SENTENCE, **options}
        text = options["text"] if options["text"] and "repeat" not in options else None
        return Setup(model, options, messages, text=text, thought=options.get("reasoning"))

    def plain(self) -> Setup:
        return self._setup()

    def slow_decode(self) -> Setup:
        return self._setup(tokens_per_second=12.0)

    def broken(self) -> Sequence[Failing]:
        return [Failing("a model that is too large", self._setup(fail="load"), OutOfMemory)]

    def missing_model(self) -> Setup:
        return self._setup("missing")

    def thinking(self) -> Setup:
        return self._setup(reasoning=THOUGHT)

    def empty_answer(self) -> Setup:
        return self._setup(question="", text="")

    def unicode(self) -> Setup:
        return self._setup(text="Das Meer 海は広い 🌊 und so")

    def slow_load(self) -> Setup:
        return self._setup(load_s=0.6)

    def slow_prefill(self) -> Setup:
        return self._setup(question="word " * 300, prefill_tokens_per_second=250.0)

    def small_context(self) -> Setup:
        return self._setup(context=256)

    def full_context(self) -> Setup:
        return self._setup(text="again and again ", repeat=1000, context=256)

    def failing_answer(self) -> Failing:
        return Failing("an engine that fails in mid-answer", self._setup(fail="decode"))

    def held_bytes(self) -> int | None:
        return HELD["bytes"]

    def sent(self) -> str | None:
        return "\n".join(SENT)


class Wrong(msgspec.Struct, frozen=True):
    """A backend, or a setting of it, that breaks the promise named `promise`; `what` is how."""

    promise: str
    what: str
    conformance: type[BackendConformance]


WRONG: list[Wrong] = []


def breaks(promise: str, what: str, **setting: Any) -> Callable[[type[Backend]], type[Backend]]:
    """Register a backend class that breaks a promise."""

    def register(backend: type[Backend]) -> type[Backend]:
        WRONG.append(Wrong(f"test_{promise}", what, type("Settings", (Right,), {"backend": backend, **setting})))
        return backend

    return register


def tells(promise: str, what: str, change: Change) -> None:
    """Register a backend whose events are those of the right one after `change`."""

    def chat(self: RightBackend, request: ChatRequest, cancel: Cancel) -> Events:
        yield from change(RightBackend.chat(self, request, cancel))

    breaks(promise, what)(type("Telling", (RightBackend,), {"chat": chat}))


def has(promise: str, what: str, **members: Any) -> None:
    """Register a backend with other members than the right one's."""
    breaks(promise, what)(type("Having", (RightBackend,), members))


def asked(promise: str, what: str, change: Callable[[ChatRequest], ChatRequest]) -> None:
    """Register a backend that understands another request than it was given."""

    def chat(self: RightBackend, request: ChatRequest, cancel: Cancel) -> Events:
        yield from RightBackend.chat(self, change(request), cancel)

    breaks(promise, what)(type("Mishearing", (RightBackend,), {"chat": chat}))


def each(kind: type, change: Callable[[Any], Any]) -> Change:
    """Return what changes every event of a kind."""
    return lambda events: (change(event) if isinstance(event, kind) else event for event in events)


def usage(**counts: int | None) -> Change:
    return each(Done, lambda done: replace(done, usage=replace(done.usage, **counts)))


def timings(**seconds: float | None) -> Change:
    return each(Done, lambda done: replace(done, timings=replace(done.timings, **seconds)))


def reason(word: str) -> Change:
    return each(Done, lambda done: replace(done, reason=word))


def after(extra: ChatEvent) -> Change:
    return lambda events: itertools.chain(events, [extra])


def first(extra: ChatEvent) -> Change:
    """Return what puts `extra` before everything but the progress of the prompt."""

    def change(events: Events) -> Iterable[ChatEvent]:
        told = list(events)
        place = sum(isinstance(event, PromptProgress) for event in told)
        return [*told[:place], extra, *told[place:]]

    return change


def sampled(**values: Any) -> Callable[[ChatRequest], ChatRequest]:
    return lambda request: replace(request, sampling=replace(request.sampling, **values))
