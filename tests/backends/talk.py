"""Load and ask a backend in a line or two."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Self

import msgspec

from backends.base import Cancel, ChatRequest, Loaded, Message, Partial, ReasoningStyle, Sampling
from backends.errors import BackendError
from backends.events import ChatEvent, Done, LoadProgress, PromptProgress, Reasoning, Text

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

    def __init__(self, backend: Any, model: str, options: Any) -> None:
        self.backend = backend
        self.model = model
        self.options = options
        self.reports: list[LoadProgress] = []
        self.loaded: Loaded | None = None

    def __enter__(self) -> Self:
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


def failing(session: Talk) -> tuple[Answer, BackendError]:
    """Ask into a failure; then see that the next question is answered."""
    answer = session.ask()
    assert answer.error is not None
    assert not any(isinstance(event, Done) for event in answer.events)
    assert answer.error.title
    assert "\n" not in answer.error.title
    assert answer.error.hint
    assert len(answer.error.detail) < 2000
    assert session.ask().done.reason == "stop"
    return answer, answer.error


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
