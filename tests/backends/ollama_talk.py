"""Load and ask the Ollama backend against a scripted server, in a line or two."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from backends.base import Cancel, ChatRequest, Loaded, Message, Partial, ReasoningStyle, Sampling
from backends.errors import BackendError
from backends.events import ChatEvent, Done, LoadProgress, PromptProgress, Reasoning, Text
from backends.ollama import OllamaBackend, OllamaOptions
from tests.backends.fake_ollama import FakeOllama

HELLO = (Message("user", "Hello"),)


class Answer(msgspec.Struct):
    """What came of a question."""

    events: list[ChatEvent]
    error: BackendError | None = None
    wall_s: float = 0.0

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Text))

    @property
    def thought(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Reasoning))

    @property
    def notes(self) -> list[str]:
        return [event.note for event in self.events if isinstance(event, PromptProgress)]

    @property
    def done(self) -> Done:
        assert self.error is None, self.error
        assert isinstance(self.events[-1], Done)
        return self.events[-1]


class Talk:
    """A backend with a model loaded. Use it in a `with` block."""

    def __init__(self, server: FakeOllama, model: str = "tiny", **options: Any) -> None:
        self.server = server
        self.backend = OllamaBackend()
        self.model = model
        self.options = msgspec.convert({"host": server.url, **options}, OllamaOptions)
        self.reports: list[LoadProgress] = []
        self.loaded: Loaded | None = None

    def __enter__(self) -> Talk:
        self.load()
        return self

    def __exit__(self, *_: object) -> None:
        self.backend.unload()

    def load(self, cancel: Cancel | None = None) -> Loaded:
        self.loaded = self.backend.load(self.model, self.options, self.reports.append, cancel or Cancel())
        return self.loaded

    def ask(
        self,
        messages: tuple[Message, ...] = HELLO,
        *,
        sampling: Sampling | None = None,
        partial: Partial | None = None,
        reasoning: ReasoningStyle = "auto",
        cancel: Cancel | None = None,
        heard: Callable[[ChatEvent], None] = lambda _event: None,
    ) -> Answer:
        """Ask and read to the end; an error is kept beside what came before it."""
        request = ChatRequest(messages, sampling or Sampling(), reasoning, partial)
        answer, started = Answer([]), time.monotonic()
        try:
            for event in self.backend.chat(request, cancel or Cancel()):
                answer.events.append(event)
                heard(event)
        except BackendError as error:
            answer.error = error
        answer.wall_s = time.monotonic() - started
        return answer


def failed(server: FakeOllama, model: str = "tiny", **options: Any) -> BackendError:
    """Load what cannot be loaded; return the error."""
    try:
        Talk(server, model, **options).load()
    except BackendError as error:
        return error
    raise AssertionError(f"{model} was loaded")


def later(seconds: float, action: Callable[[], None]) -> threading.Timer:
    """Do something in another thread."""
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


def until(condition: Callable[[], object], timeout_s: float = 5.0) -> bool:
    """Wait for what another thread does; say whether it came to that."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def serving(**models: Any) -> Iterator[FakeOllama]:
    """A scripted server with these models."""
    with FakeOllama() as server:
        for name, model in models.items():
            server.models[f"{name}:latest"] = model
        yield server
