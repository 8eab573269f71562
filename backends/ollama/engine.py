"""The Ollama backend: a model that a server of the user's, here or elsewhere, loads and runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from backends.base import Availability, Backend, Cancel, Cancelled, ChatRequest, Loaded, Message, Partial, TokenCount
from backends.errors import BackendError, ContextOverflow, NotInstalled
from backends.events import ChatEvent, LoadProgress
from backends.fitting import fits, overflow
from backends.http.counting import Estimator
from backends.ollama import address, serving
from backends.ollama.answer import answer
from backends.ollama.connection import Connection
from backends.ollama.loading import Noted, Opened, free, open_model
from backends.ollama.options import OllamaOptions

_CAPABILITIES = ("continue", "seed", "prefix_reuse", "answer_now")
_CHECK_S = 1.5
_RELEASE_S = 2.0
_CLEARLY = 0.7
"""An old server has dropped the beginning where it read less than this part of what was estimated."""


class OllamaBackend(Backend):
    """Asks an Ollama server. What it loaded it unloads; what others loaded stays."""

    name = "ollama"
    title = "Ollama"
    Options: ClassVar[type[msgspec.Struct]] = OllamaOptions

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._opened: Opened | None = None
        self._estimator = Estimator()

    @classmethod
    def check(cls, options: Any = None) -> Availability:
        host = options.host if isinstance(options, OllamaOptions) else ""
        try:
            where = address.find(host)
            with contextlib.closing(_connect(where, _CHECK_S)) as connection:
                version = connection.version()
        except BackendError as error:
            return _unready(error, host)
        except Exception as error:  # noqa: BLE001 - whatever a library does, this only tells of it
            return Availability(ready=False, detail=f"{type(error).__name__}: {error}", hint="", lasting=False)
        return Availability(True, version, detail=f"at {where.shown}", capabilities=_CAPABILITIES, lasting=False)

    @classmethod
    def start(cls, options: Any) -> None:
        serving.serve(options.host if isinstance(options, OllamaOptions) else "")

    @classmethod
    def release(cls, holding: str) -> None:
        """Unload what a killed host had loaded. A server that does not answer is left alone."""
        with contextlib.suppress(BackendError, msgspec.MsgspecError):
            noted = msgspec.json.decode(holding, type=Noted)
            # The note is our own: its server was confirmed when the model was loaded.
            where = address.Address(noted.server, chosen=True)
            with contextlib.closing(_connect(where, _RELEASE_S)) as connection:
                free(connection, noted.model)

    def load(
        self, model: str, options: OllamaOptions, report: Callable[[LoadProgress], None], cancel: Cancel
    ) -> Loaded:
        """Have the server load a model: one that it has, by name, or a GGUF file of this machine, which it is given.

        Raises Cancelled, ModelNotFound, BadModelFile, BadOptions, OutOfMemory, NewOrigin, Unauthorized,
        ServerUnreachable, ServerError.
        """
        self.unload()
        if cancel.is_set():
            raise Cancelled
        where = address.find(options.host)
        connection = _connect(where)
        try:
            if model.startswith("/"):  # no name of Ollama's
                from backends.ollama import importing

                model = importing.bring(connection, where.url, Path(model), report, cancel)
            opened = open_model(connection, where.url, model, options, report, cancel)
        except BaseException:
            connection.close()
            raise
        self._connection, self._opened, self._estimator = connection, opened, Estimator()
        return opened.loaded

    def count_tokens(self, messages: Sequence[Message]) -> TokenCount:
        return TokenCount(self._estimator.count(messages), exact=False)

    def chat(self, request: ChatRequest, cancel: Cancel) -> Iterator[ChatEvent]:
        """Answer. Raises ContextOverflow, CannotContinue, and BackendError for what the server fails at."""
        connection, opened = self._ready()
        context = opened.context
        estimate = self._estimator.count(request.messages)
        if not opened.refuses and not fits(estimate, context):
            raise overflow(estimate, context)

        def counted(tokens: int) -> None:
            if not opened.refuses and tokens < estimate * _CLEARLY and estimate > context * _CLEARLY:
                raise _left_out(tokens, estimate)
            self._estimator.learn(request.messages, tokens)

        room = None
        if not opened.ends_when_full:
            partial = request.partial or Partial()
            room = max(1, context - self._estimator.count(request.messages, partial.reasoning + partial.text))
        yield from answer(connection, opened.asking, request, cancel, context, counted, _wishes(request), room)

    def unload(self) -> None:
        connection, self._connection = self._connection, None
        opened, self._opened = self._opened, None
        if connection is None or opened is None:
            return
        if opened.ours:
            free(connection, opened.asking.model, opened.holding)
        connection.close()

    def _ready(self) -> tuple[Connection, Opened]:
        if self._connection is None or self._opened is None:
            raise BackendError("No model is loaded", "Ollama was asked before it had one.", "Load a model first.")
        return self._connection, self._opened


def _connect(where: address.Address, silence_s: float | None = None) -> Connection:
    """Raises NotInstalled, NewOrigin, Unauthorized, BadOptions."""
    access = address.allowed(where)
    try:
        return Connection(where, access) if silence_s is None else Connection(where, access, silence_s)
    except ImportError as error:
        hint = "Reinstall deepseek-tui: the package `ollama` belongs to it."
        raise NotInstalled("Ollama's client library cannot be imported", str(error), hint) from error


def _unready(error: BackendError, host: str) -> Availability:
    """Tell why a server cannot be used; one that does not run here may be startable."""
    from backends.errors import ServerUnreachable

    detail, hint, startable = str(error), error.hint, ""
    if isinstance(error, ServerUnreachable):
        hint = serving.how_to_start(host)
        startable = serving.COMMAND if serving.can_serve(host) else ""
    return Availability(ready=False, detail=detail, hint=hint, lasting=False, startable=startable)


def _wishes(request: ChatRequest) -> str:
    """Say which of the preset's wishes Ollama cannot take."""
    return "Ollama has no DRY sampling: `dry_multiplier` has no effect." if request.sampling.dry_multiplier else ""


def _left_out(tokens: int, estimate: int) -> ContextOverflow:
    return ContextOverflow(
        "Ollama left out the beginning of this conversation",
        f"It read {tokens:,} of about {estimate:,} tokens and said nothing; the answer does not know the rest.",
        "Go on without the beginning, choose a larger context, or update Ollama to 0.12.6 or later.",
    )
