"""The backend interface: what an engine must do to be used here. Plug-ins use it too.

A backend is a plain blocking class. It lives alone in a host process, so it may block, leak or crash.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from backends.errors import ServerUnreachable
from backends.events import ChatEvent, LoadProgress

Role = Literal["system", "user", "assistant"]
ReasoningStyle = Literal["auto", "think-tags", "none"]
Place = Literal["process", "machine", "elsewhere"]
Capability = Literal["continue", "exact_tokens", "seed", "prefix_reuse", "answer_now"]
"""What a backend may be able to do: go on with a partial answer, count tokens exactly, give the same answer for the
same seed, keep a conversation's state for its next question, close a thought when asked to (`Cancel.hurried`)."""


class Message(msgspec.Struct, frozen=True):
    """One message of a conversation as the model sees it: without its thoughts."""

    role: Role
    text: str


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the next token is chosen. The defaults are DeepSeek's advice for R1.

    `top_k` 0, `min_p` 0, `repeat_penalty` 1 and the other penalties 0 switch a stage off. `dry_multiplier` above 0
    penalizes tokens that would prolong a repetition of `dry_allowed_length` tokens (DRY: "don't repeat yourself"), by
    multiplier x base ^ (length - allowed length). `seed` None is a new one each time.
    An engine may take `top_p` among the 1,000 likeliest tokens instead of all: to sort a large vocabulary costs time.
    `max_tokens` None ends only with the model or the context. `stop` strings end the answer and are not shown.
    """

    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()


class Partial(msgspec.Struct, frozen=True):
    """An unfinished answer to go on with. `thinking` says whether its thought is still open."""

    reasoning: str = ""
    text: str = ""
    thinking: bool = False


class ChatRequest(msgspec.Struct, frozen=True):
    """One question: the whole conversation, oldest first, ending with the user's message.

    `chat` names the conversation, so that an engine may keep its state for the next question; "" keeps nothing.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    reasoning: ReasoningStyle = "auto"
    partial: Partial | None = None
    chat: str = ""


class TokenCount(msgspec.Struct, frozen=True):
    """Prompt tokens of a conversation; `exact` is False where the engine only estimates."""

    count: int
    exact: bool = True


class Availability(msgspec.Struct, frozen=True):
    """Whether a backend can work on this machine, and if not, why and what to do.

    `gpu` is None where the question does not arise. `capabilities` are stable words: see `Capability`.
    `lasting` is False where the answer may be another in a minute, such as whether a server is up: it is not kept.
    `startable` is the command that `Backend.start` would run to mend it, "" where nothing can be started.
    """

    ready: bool
    version: str = ""
    gpu: bool | None = None
    detail: str = ""
    hint: str = ""
    capabilities: tuple[str, ...] = ()
    lasting: bool = True
    startable: str = ""


class Loaded(msgspec.Struct, frozen=True):
    """A model in memory, as its engine describes it. None means unknown or not applicable.

    `context` is in tokens, None where a server does not tell. `layers` and `gpu_layers` count transformer blocks; the
    output layer is named apart.
    `vram_bytes` is what of the model a server says to hold on its cards. `capabilities` are what can be done with this
    very model: None is what the backend's `check` says.
    `notes` are sentences for the user, such as a context that had to be rounded. `place` says whose energy its answers
    take: that of this process, of another on this machine, or of a machine elsewhere.
    Each token reads `memory_read_bytes` of weights out of main memory, of which loading has found `streamed_bytes` to
    come from the disk each time.
    """

    context: int | None
    trained_context: int | None = None
    layers: int | None = None
    gpu_layers: int | None = None
    output_on_gpu: bool | None = None
    model_bytes: int | None = None
    vram_bytes: int | None = None
    load_s: float | None = None
    device: str = ""
    notes: tuple[str, ...] = ()
    capabilities: tuple[str, ...] | None = None
    place: Place = "process"
    memory_read_bytes: int | None = None
    streamed_bytes: int | None = None


class Cancel:
    """A thread-safe flag that can be set once. Callbacks run in the thread that sets it.

    `hurried` is the milder wish: close the thought now and answer with what there is. It may come at any time.
    """

    def __init__(self) -> None:
        self.hurried = False
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until set, at most `timeout_s`; say whether it is set."""
        return self._event.wait(timeout_s)

    def set(self) -> None:
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_set(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the flag is set: at once if it already is."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()


class Cancelled(Exception):
    """Raised out of `Backend.load` when its `Cancel` was set."""


class Backend(ABC):
    """One engine with at most one loaded model. All methods may block; none is called from two threads at once.

    Raises `BackendError` (see `backends.errors`) for every failure that can be foreseen.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    Options: ClassVar[type[msgspec.Struct]]
    """What a preset may say about this backend: a frozen struct with defaults that forbids unknown fields."""
    takes_memory: ClassVar[bool] = True
    """Whether a loaded model takes memory of this machine. Of those that do, one is loaded at a time."""

    @classmethod
    @abstractmethod
    def check(cls, options: Any = None) -> Availability:
        """Say whether this backend can work here. Imports the engine; never raises, never takes long.

        With `options`, a value of `Options`, it also looks at what these name, such as a server.
        """

    @classmethod
    def start(cls, options: Any) -> None:
        """Start the server that `options` need, where `check` calls it startable; come back when it answers.

        It outlives the caller. Raises BackendError.
        """
        raise ServerUnreachable(f"{cls.title} has nothing that could be started", str(options), "Start it yourself.")

    @classmethod  # noqa: B027 - an engine's memory goes with its process
    def release(cls, holding: str) -> None:
        """Give back what a killed host left loaded in a server. `holding` is what it noted: see `backends.holdings`."""

    @abstractmethod
    def load(self, model: str, options: Any, report: Callable[[LoadProgress], None], cancel: Cancel) -> Loaded:
        """Load `model` (a path, tag or server model). Raises `Cancelled` when `cancel` is set."""

    @abstractmethod
    def count_tokens(self, messages: Sequence[Message]) -> TokenCount:
        """Count the prompt tokens of a conversation, template included."""

    @abstractmethod
    def chat(self, request: ChatRequest, cancel: Cancel) -> Iterator[ChatEvent]:
        """Answer. Ends with exactly one `Done`; when `cancel` is set, with reason "stopped" and all text so far."""

    @abstractmethod
    def unload(self) -> None:
        """Give back what was loaded. Called again or without a model it does nothing."""

    def settle(self, cancel: Cancel) -> None:  # noqa: B027 - doing nothing is right for most engines
        """Get ready for the next question while nobody waits. Called whenever the engine has nothing to do.

        Comes back soon after `cancel` is set, and is called again later until nothing is left to do.
        """

    def forget(self, chat: str) -> None:  # noqa: B027 - an engine that keeps nothing has nothing to forget
        """Keep no more of the conversation `chat`: it was deleted."""
