"""What a test class says about its backend: which class, which setups it can provide, and within which bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import pytest

from backends.base import Backend, ChatRequest, Message, Partial, ReasoningStyle, Sampling
from backends.errors import BackendError

HELLO = (Message("user", "Hello"),)


class Setup(msgspec.Struct, frozen=True):
    """A model to load, and a question to put to it.

    `options` are plain values, as a preset writes them. `text` and `thought` are what the whole answer must be, where
    that is known beforehand; None where it is not. By default nothing is left to chance.
    """

    model: str
    options: Mapping[str, Any] = {}
    messages: tuple[Message, ...] = (Message("user", "Tell me about the sea."),)
    sampling: Sampling = Sampling(temperature=0.0, seed=1)
    reasoning: ReasoningStyle = "auto"
    partial: Partial | None = None
    text: str | None = None
    thought: str | None = None

    def request(self, **changes: Any) -> ChatRequest:
        """Return the question as a backend gets it, with other fields where `changes` name them."""
        request = ChatRequest(self.messages, self.sampling, self.reasoning, self.partial)
        return msgspec.structs.replace(request, **changes)


class Failing(msgspec.Struct, frozen=True):
    """A setup that must fail with a typed error; `what` says in a few words what is wrong with it."""

    what: str
    setup: Setup
    error: type[BackendError] = BackendError


class Setting:
    """What `BackendConformance` has to know about a backend. Override what differs.

    The methods may use what the class's own autouse fixtures have put on `self`, such as a server that is scripted.
    Where one returns None its promises are skipped; it may also call `pytest.skip` and say why.
    """

    backend: ClassVar[type[Backend]]
    engine_modules: ClassVar[tuple[str, ...]] = ()
    """Modules of the engine, or of a client library, that importing the backend's module must not import."""
    counts_output: ClassVar[bool] = True
    """Whether `tokens` of each event is the engine's own count; False for one a chunk, put right in `Done.usage`."""
    stop_bound_s: ClassVar[float] = 1.0
    """How soon after `cancel` is set an answer or a load must have ended."""
    check_bound_s: ClassVar[float] = 5.0
    """How long `check` may take."""
    patience_s: ClassVar[float] = 60.0
    """How long anything else may take before it counts as hung."""

    def plain(self) -> Setup:
        """Any question that is answered with a dozen tokens or more, without thoughts. Required."""
        raise NotImplementedError(f"{type(self).__name__} must provide plain()")

    def slow_decode(self) -> Setup:
        """An answer that takes a second or more after its first piece, so that it can be stopped. Required."""
        raise NotImplementedError(f"{type(self).__name__} must provide slow_decode()")

    def broken(self) -> Sequence[Failing]:
        """One or more setups that cannot be loaded. Required."""
        raise NotImplementedError(f"{type(self).__name__} must provide broken()")

    def missing_model(self) -> Setup | None:
        """A model that is not there: ModelNotFound when it is loaded."""
        return None

    def thinking(self) -> Setup | None:
        """An answer with a thought of a dozen pieces or more, and text after it."""
        return None

    def empty_answer(self) -> Setup | None:
        """A question to which the model says nothing: it ends at once."""
        return None

    def unicode(self) -> Setup | None:
        """An answer with characters of several bytes, which the engine cuts between their bytes if it can."""
        return None

    def slow_load(self) -> Setup | None:
        """A model whose loading takes half a second or more, so that it can be stopped."""
        return None

    def slow_prefill(self) -> Setup | None:
        """A prompt that takes a second or more before the answer begins, so that it can be stopped."""
        return None

    def small_context(self) -> Setup | None:
        """A context of a few hundred tokens, which a long conversation overflows."""
        return None

    def full_context(self) -> Setup | None:
        """An answer that never ends by itself, in a context of a few hundred tokens."""
        return None

    def failing_answer(self) -> Failing | None:
        """An answer that breaks off with an error after some text."""
        return None

    def held_bytes(self) -> int | None:
        """Memory that loaded models hold at the moment, wherever that is; None where it cannot be seen."""
        return None

    def sent(self) -> str | None:
        """Everything that the backend has sent to its server so far; None where it talks to none."""
        return None

    def provided(self, scenario: str) -> Any:
        """Return what a scenario gives; skip the test where this backend provides none."""
        method = getattr(self, scenario)
        found = method()
        if found is None:
            meaning = (getattr(Setting, scenario).__doc__ or "").partition("\n")[0]
            pytest.skip(f"{self.backend.name} provides no {scenario}: {meaning}")
        return found
