# ruff: noqa: S101 - these are for tests
"""A backend in use: loaded and asked from one thread, as a host does it, and never waited for without an end."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import pytest

from backends.base import Backend, Cancel, ChatRequest, Loaded, Message
from backends.conformance import law
from backends.conformance.setting import Setting, Setup
from backends.errors import BackendError
from backends.events import ChatEvent, Done, LoadProgress, PromptProgress, Reasoning, Text

T = TypeVar("T")


@dataclass
class Answer:
    """What came of a question. `stop_s` is how long it went on after it was stopped, None if it was not."""

    events: list[ChatEvent] = field(default_factory=list)
    error: BaseException | None = None
    wall_s: float = 0.0
    stop_s: float | None = None

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Text))

    @property
    def thought(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Reasoning))

    @property
    def pieces(self) -> list[Reasoning | Text]:
        return [event for event in self.events if isinstance(event, Reasoning | Text)]

    @property
    def progress(self) -> list[PromptProgress]:
        return [event for event in self.events if isinstance(event, PromptProgress)]

    @property
    def done(self) -> Done:
        last = self.events[-1]
        assert isinstance(last, Done), "the answer has no end"
        return last


@dataclass(frozen=True)
class Stop:
    """When to stop an answer from another thread: `delay_s` after the first event that is `enough`.

    Where no such event comes within `at_latest_s`, it is stopped then.
    """

    enough: Callable[[ChatEvent], bool]
    delay_s: float = 0.0
    at_latest_s: float | None = None


class EngineThread:
    """One thread for every call of a backend: engines may depend on it, and hosts give it to them."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine under test", daemon=True)
        self._thread.start()

    def begin(self, work: Callable[[], object]) -> queue.SimpleQueue[tuple[Any, BaseException | None]]:
        """Have `work` done; its result, or what it raised, comes through the queue."""
        result: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                result.put((work(), None))
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                result.put((None, error))

        self._work.put(run)
        return result

    def call(self, work: Callable[[], T], within_s: float, what: str) -> T:
        """Have `work` done and return its result. Fails the test if it takes longer than `within_s`."""
        value: T = awaited(self.begin(work), within_s, what)
        return value

    def end(self) -> None:
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def awaited(result: queue.SimpleQueue[tuple[Any, BaseException | None]], within_s: float, what: str) -> Any:
    """Wait for what `EngineThread.begin` began; fail the test if it takes longer than `within_s`."""
    try:
        value, error = result.get(timeout=within_s)
    except queue.Empty:
        pytest.fail(f"{what} has not ended after {within_s:g} s")
    if error is not None:
        raise error
    return value


class Session:
    """One backend, and one model in it after `load`. Every answer is held to the law of events."""

    def __init__(self, setting: Setting, setup: Setup) -> None:
        self.setup = setup
        self.setting = setting
        self.backend: Backend = setting.backend()
        self.thread = EngineThread()
        self.loaded: Loaded | None = None
        self.reports: list[LoadProgress] = []

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What can be done with this very model: what it says itself, or what the backend's `check` says."""
        assert self.loaded is not None
        if self.loaded.capabilities is not None:
            return self.loaded.capabilities
        return self.do(lambda: type(self.backend).check(self.options()), "check").capabilities

    def options(self) -> Any:
        return msgspec.convert(dict(self.setup.options), self.backend.Options)

    def do(self, work: Callable[[], T], what: str, within_s: float | None = None) -> T:
        return self.thread.call(work, self.setting.patience_s if within_s is None else within_s, what)

    def load(self, cancel: Cancel | None = None, report: Callable[[LoadProgress], None] | None = None) -> Loaded:
        options, flag = self.options(), cancel or Cancel()

        def reported(progress: LoadProgress) -> None:
            self.reports.append(progress)
            if report is not None:
                report(progress)

        self.loaded = self.do(lambda: self.backend.load(self.setup.model, options, reported, flag), "load")
        return self.loaded

    def unload(self) -> None:
        self.do(self.backend.unload, "unload")

    def count(self, messages: tuple[Message, ...]) -> int:
        return self.do(lambda: self.backend.count_tokens(messages), "count_tokens").count

    def ask(
        self,
        *,
        cancel: Cancel | None = None,
        heard: Callable[[ChatEvent], None] | None = None,
        stop: Stop | None = None,
        **changes: Any,
    ) -> Answer:
        """Ask the setup's question, with other fields of the request where `changes` name them; raise its error.

        `heard` is called with each event in the engine's thread.
        """
        answer = self.attempt(cancel=cancel, heard=heard, stop=stop, **changes)
        if answer.error is not None:
            raise answer.error
        return answer

    def fail(self, expected: type[BackendError], what: str, **changes: Any) -> Answer:
        """Ask what must fail with a typed error."""
        answer = self.attempt(**changes)
        assert answer.error is not None, f"{what} must raise {expected.__name__}; it gave {answer.events!r:.300}"
        if not isinstance(answer.error, expected):
            raise AssertionError(f"{what} must raise {expected.__name__}") from answer.error
        law.check_error(answer.error)
        return answer

    def attempt(
        self,
        *,
        cancel: Cancel | None = None,
        heard: Callable[[ChatEvent], None] | None = None,
        stop: Stop | None = None,
        **changes: Any,
    ) -> Answer:
        """Ask, and return the answer with its error, if it came to one."""
        answer, flag, enough = Answer(), cancel or Cancel(), threading.Event()
        request = self.setup.request(**changes)

        def listen() -> float:
            started = time.monotonic()
            try:
                for event in self.backend.chat(request, flag):
                    answer.events.append(event)
                    if stop is not None and stop.enough(event):
                        enough.set()
                    if heard is not None:
                        heard(event)
            except Exception as error:  # noqa: BLE001 - the caller looks at it
                answer.error = error
            ended = time.monotonic()
            answer.wall_s = ended - started
            return ended

        result = self.thread.begin(listen)
        if stop is None:
            awaited(result, self.setting.patience_s, "the answer")
        else:
            enough.wait(self.setting.patience_s if stop.at_latest_s is None else stop.at_latest_s)
            time.sleep(stop.delay_s)
            ended_before = not result.empty()
            stopped_at = time.monotonic()
            flag.set()
            answer.stop_s = awaited(result, self.setting.patience_s, "the stopped answer") - stopped_at
            if ended_before and answer.error is None:
                pytest.fail("the answer ended before it could be stopped: this setup is not slow enough")
        law.check_order(answer.events, complete=answer.error is None)
        law.check_wire(answer.events)
        return answer

    def read_until(self, enough: Callable[[ChatEvent], bool], request: ChatRequest | None = None) -> float:
        """Ask, close the stream at the first event that is `enough`; return how many seconds closing took."""

        def read() -> float:
            stream = self.backend.chat(request or self.setup.request(), Cancel())
            if not any(enough(event) for event in stream):
                pytest.fail("the answer ended before it could be closed: this setup is not slow enough")
            started = time.monotonic()
            close = getattr(stream, "close", None)
            if close is not None:
                close()
            return time.monotonic() - started

        return self.do(read, "the closed answer")

    def still_answers(self, messages: tuple[Message, ...]) -> None:
        """See that the next question is answered, at least with its first piece."""
        request = self.setup.request(messages=messages, partial=None)
        self.read_until(is_piece, request)


def is_piece(event: ChatEvent) -> bool:
    """Whether an event shows something."""
    return isinstance(event, Reasoning | Text) and bool(event.text)


def is_text(event: ChatEvent) -> bool:
    return isinstance(event, Text) and bool(event.text)


def is_thought(event: ChatEvent) -> bool:
    return isinstance(event, Reasoning) and bool(event.text)


@contextmanager
def prepared(setting: Setting, setup: Setup) -> Iterator[Session]:
    """Give a backend without a model, and unload whatever it has afterwards."""
    session = Session(setting, setup)
    try:
        yield session
        session.unload()
    except BaseException:
        # The thread may hang: what failed first is what the reader must see.
        session.thread.begin(session.backend.unload)
        raise
    finally:
        session.thread.end()


@contextmanager
def loaded(setting: Setting, setup: Setup) -> Iterator[Session]:
    """Give a backend with its model loaded, and unload it afterwards."""
    with prepared(setting, setup) as session:
        session.load()
        yield session
