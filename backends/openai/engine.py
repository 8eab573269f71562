"""The backend for OpenAI-compatible servers: nothing is loaded here, everything is asked of somebody else's machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import msgspec

from backends.base import Availability, Backend, Cancel, Cancelled, ChatRequest, Loaded, Message, TokenCount
from backends.errors import BackendError, ContextOverflow, NewOrigin, NotInstalled, ServerError, Unauthorized
from backends.events import ChatEvent, Done, LoadProgress, PromptProgress, Reasoning, Text
from backends.fitting import fits, overflow
from backends.http.client import SILENCE_S, stoppable
from backends.http.counting import Estimator
from backends.openai.answer import answer
from backends.openai.asking import rendered
from backends.openai.connection import Connection
from backends.openai.dialect import as_dicts, ignored
from backends.openai.opening import Opened, open_model
from backends.openai.options import OpenAIOptions
from backends.price import cost

_CHECK_S = 1.5
_OVERFULL = 1.02


class OpenAIBackend(Backend):
    """Asks a server that speaks the OpenAI protocol."""

    name = "openai"
    title = "OpenAI API"
    Options: ClassVar[type[msgspec.Struct]] = OpenAIOptions
    takes_memory = False

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._opened: Opened | None = None
        self._estimator = Estimator()

    @classmethod
    def check(cls, options: Any = None) -> Availability:
        """See whether the server of `options` answers. One that is not confirmed yet is not asked."""
        try:
            import httpx
        except ImportError as error:
            hint = "Reinstall deepseek-tui: the package `httpx` belongs to it."
            return Availability(ready=False, detail=str(error), hint=hint)
        if not isinstance(options, OpenAIOptions):
            return Availability(ready=True, version=f"httpx {httpx.__version__}", lasting=False)
        try:
            with contextlib.closing(Connection(options.base_url, _CHECK_S)) as connection:
                connection.find_base()
        except NewOrigin as error:
            return Availability(ready=True, detail=f"{error.detail} is not confirmed yet", lasting=False)
        except (Unauthorized, ServerError) as error:
            # It is there; what is wrong is told in full when it is asked.
            return Availability(ready=True, detail=str(error), hint=error.hint, lasting=False)
        except BackendError as error:
            return Availability(ready=False, detail=str(error), hint=error.hint, lasting=False)
        except Exception as error:  # noqa: BLE001 - whatever a library does, this only tells of it
            return Availability(ready=False, detail=f"{type(error).__name__}: {error}", lasting=False)
        return Availability(ready=True, detail=f"at {connection.server}", lasting=False)

    def load(
        self, model: str, options: OpenAIOptions, report: Callable[[LoadProgress], None], cancel: Cancel
    ) -> Loaded:
        """Look at the server and its model.

        Raises Cancelled, ModelNotFound, BadOptions, NewOrigin, Unauthorized, ServerUnreachable, ServerError.
        """
        self.unload()
        if cancel.is_set():
            raise Cancelled
        connection = _connect(options.base_url, SILENCE_S)
        try:
            with stoppable(connection.shut, cancel):
                opened = open_model(connection, model, options, report, cancel)
        except BaseException as error:
            connection.close()
            if cancel.is_set() and isinstance(error, BackendError):
                raise Cancelled from error
            raise
        self._connection, self._opened, self._estimator = connection, opened, Estimator()
        return opened.loaded

    def count_tokens(self, messages: Sequence[Message]) -> TokenCount:
        """Count with the server where it does that for us, else estimate."""
        connection, opened = self._ready()
        with contextlib.suppress(BackendError):
            exact = _counted(connection, opened, messages)
            if exact is not None:
                return TokenCount(exact)
        return TokenCount(self._estimator.count(messages), exact=False)

    def chat(self, request: ChatRequest, cancel: Cancel) -> Iterator[ChatEvent]:
        """Answer. Raises ContextOverflow, CannotContinue, and BackendError for what the server fails at."""
        connection, opened = self._ready()
        context, total = opened.loaded.context, 0
        if context is not None and request.partial is None and opened.flavour.counting:
            with stoppable(connection.shut, cancel):
                counted = self.count_tokens(request.messages)
            if counted.exact and not fits(counted.count, context) and not cancel.is_set():
                raise overflow(counted.count, context)
            if counted.exact and not cancel.is_set():
                total = counted.count
                yield PromptProgress(0, total)
        said = False
        try:
            room = context - total if context is not None and total else None
            for event in answer(connection, opened, request, cancel, _wishes(request, opened), room):
                if isinstance(event, Done):
                    yield self._ended(event, opened, request)
                    continue
                if isinstance(event, Reasoning | Text):
                    if total and not said:
                        yield PromptProgress(total, total)
                    said = True
                yield event
        except ContextOverflow:
            # What it refuses must count as too long from now on, or nothing could be left out.
            if context is not None and not opened.flavour.counting:
                least = round(context * _OVERFULL)
                self._estimator.learn(request.messages, max(least, self._estimator.count(request.messages)))
            raise
        except ServerError as error:
            estimate = self._estimator.count(request.messages)
            if context is not None and not said and estimate > context:
                raise overflow(estimate, context) from error  # some say nothing at all to a prompt that is too long
            raise

    def _ended(self, done: Done, opened: Opened, request: ChatRequest) -> Done:
        """Return the end of an answer with what it costs; learn from what the prompt had."""
        prompt = done.usage.prompt_tokens
        if prompt is not None and request.partial is None:
            self._estimator.learn(request.messages, prompt)
        return done if opened.price is None else msgspec.structs.replace(done, cost=cost(done.usage, opened.price))

    def unload(self) -> None:
        connection, self._connection = self._connection, None
        self._opened = None
        if connection is not None:
            connection.close()

    def _ready(self) -> tuple[Connection, Opened]:
        if self._connection is None or self._opened is None:
            raise BackendError("No model is loaded", "The server was asked before it was looked at.", "Load it first.")
        return self._connection, self._opened


def _connect(base_url: str, silence_s: float) -> Connection:
    """Raises NotInstalled, NewOrigin, Unauthorized, BadOptions."""
    try:
        return Connection(base_url, silence_s)
    except ImportError as error:
        hint = "Reinstall deepseek-tui: the package `httpx` belongs to it."
        raise NotInstalled("The HTTP client cannot be imported", str(error), hint) from error


def _counted(connection: Connection, opened: Opened, messages: Sequence[Message]) -> int | None:
    """Return the server's own count, None where it has none. Raises BackendError."""
    match opened.flavour.counting:
        case "messages":
            reply = connection.post("/tokenize", {"model": opened.model, "messages": as_dicts(messages)}, beside=True)
            count = reply.get("count") if isinstance(reply, dict) else None
        case "rendered":
            prompt = rendered(connection, as_dicts(messages))
            body = {"content": prompt, "add_special": True, "parse_special": True}
            reply = connection.post("/tokenize", body, beside=True)
            tokens = reply.get("tokens") if isinstance(reply, dict) else None
            count = len(tokens) if isinstance(tokens, list) else None
        case _:
            count = None
    return count if isinstance(count, int) and count > 0 else None


def _wishes(request: ChatRequest, opened: Opened) -> str:
    """Say which of the preset's wishes this server cannot take."""
    names = ignored(request.sampling, opened.flavour)
    return f"{opened.flavour.title} takes no notice of {', '.join(names)}." if names else ""
