"""The job that has an Ollama server fetch a model of its library, and tells how far it is.

The server fetches layer by layer, and tells of each when it comes to it: the whole size is known only when the last
one has begun, but the first is nearly all of it. It keeps what it has of a model, so the next try goes on from there.
It stops when nobody listens any more.
"""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import msgspec

from backends.base import Cancel, Cancelled
from backends.errors import BackendError, BadOptions, ModelNotFound, ServerError, ServerUnreachable
from backends.http.client import stoppable
from backends.http.failures import message
from backends.hub.patience import Patience
from backends.jobs.report import Report
from backends.jobs.turns import turn
from backends.ollama import address, pull_failures, serving
from backends.ollama.connection import Connection
from backends.ollama.dialect import garbage
from backends.ollama.wanted import OllamaPull
from backends.origins import is_local, origin_of
from backends.shown import printable

SILENCE_S = 900.0
"""While it reads through a large model to verify it, the server says nothing: on a slow disk for many minutes."""
_ASK_S = 10.0
_MOST_LAYERS = 1000

_Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Line(msgspec.Struct):
    """One line of what `pull` says. 0 bytes are left out."""

    status: str = ""
    digest: str = ""
    total: _Bytes = 0
    completed: _Bytes = 0
    error: Any = None


class _Tries:
    """What `Patience` has to know of the last failure: whether the same may work in a while."""

    def __init__(self) -> None:
        self.again_s: float | None = None


def run(work: dict[str, Any], report: Report, cancel: Cancel) -> str:
    """Have a model fetched; return "": where it lies is the server's affair. Raises BackendError, and Cancelled."""
    pull = msgspec.convert(work, OllamaPull)
    with contextlib.closing(_connect(pull, SILENCE_S)) as connection, stoppable(connection.shut, cancel):
        try:
            report.stage("asking")
            _version(connection, pull)
            with contextlib.ExitStack() as stack:
                if is_local(origin_of(pull.url)):  # Another machine has a line of its own.
                    stack.enter_context(turn("pull", report, cancel))
                _fetch(connection, pull, report, cancel)
            _check_there(connection, pull)
        except BackendError as error:
            if cancel.is_set():
                raise Cancelled from error
            raise
    report.stage("done", f"Ollama at {pull.server} has {printable(pull.tag)}.")
    return ""


def has(pull: OllamaPull) -> bool:
    """Ask a server whether it has a model. Blocks for seconds at most.

    Raises BackendError: ServerUnreachable with how to start it, NewOrigin, Unauthorized.
    """
    with contextlib.closing(_connect(pull, _ASK_S)) as connection:
        _version(connection, pull)
        try:
            connection.show(pull.tag)
        except ModelNotFound:
            return False
        return True


def _connect(pull: OllamaPull, silence_s: float) -> Connection:
    return Connection(pull.where, address.allowed(pull.where), silence_s)


def _version(connection: Connection, pull: OllamaPull) -> str:
    """Return the server's version; one that does not answer is started by its owner. Raises BackendError."""
    with contextlib.closing(connection.brief(_ASK_S)) as brief:
        try:
            return brief.version()
        except ServerUnreachable as error:
            hint = serving.how_to_start(pull.url)
            raise ServerUnreachable(error.title, error.detail, hint) from error


def _fetch(connection: Connection, pull: OllamaPull, report: Report, cancel: Cancel) -> None:
    """Have it fetched, as often as the line breaks. Raises BackendError, and Cancelled."""
    tries = _Tries()
    patience = Patience(tries, report, cancel, pull.patience_s)
    while True:
        try:
            return _listen(connection, pull, report, patience, cancel)
        except BadOptions as error:
            raise pull_failures.refused(error.detail, pull.tag, pull.server) from error
        except BackendError as error:
            if cancel.is_set():
                raise Cancelled from error
            tries.again_s = 0.0 if pull_failures.passes(error) else None
            patience.pause(error)


def _listen(connection: Connection, pull: OllamaPull, report: Report, patience: Patience, cancel: Cancel) -> None:
    """Ask once, and tell what the server tells until it has said that all is there. Raises BackendError, Cancelled."""
    layers = _Layers(report, patience, pull.server)
    report.stage("asking")
    with connection.lines("/api/pull", {"model": pull.tag}, "") as lines:
        for line in lines:
            if cancel.is_set():
                raise Cancelled
            if not line.strip():
                continue
            said = _said(line, pull.server)
            if said.error is not None:
                raise pull_failures.refused(message(line), pull.tag, pull.server)
            if said.digest:
                layers.take(said)
                continue
            layers.complete()
            if said.status == "success":
                return
            if said.status.startswith("verifying"):
                report.stage("verifying")
            elif not said.status.startswith("pulling manifest"):
                report.stage("finishing", printable(said.status, 200))
    raise ServerError(
        "Ollama did not finish the fetch",
        f"{pull.server} closed the line before it said that {printable(pull.tag)} is there.",
        "Fetch it again: it keeps what it has. The server's log may say why.",
    )


class _Layers:
    """How much there is of each layer that the server has told of, and of all of them."""

    def __init__(self, report: Report, patience: Patience, server: str) -> None:
        self._report, self._patience, self._server = report, patience, server
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}

    def complete(self) -> None:
        """Tell that all is there that was told of: one follows the other, and the last piece of each goes untold."""
        if self._done != self._total:
            self._done = dict(self._total)
            self._report.at(sum(self._done.values()))

    def take(self, said: _Line) -> None:
        """Tell what a line says. Raises ServerError for a server that goes on and on."""
        if len(self._total) >= _MOST_LAYERS and said.digest not in self._total:
            raise garbage(f"more than {_MOST_LAYERS} layers of one model".encode(), self._server)
        first, before = said.digest not in self._total, self._done.get(said.digest, 0)
        done = min(said.completed, said.total)
        if first:
            self.complete()
        if first or self._total[said.digest] != said.total:
            self._total[said.digest] = said.total
            self._report.total(sum(self._total.values()))
        self._done[said.digest] = done
        # What it had before did not come just now.
        (self._report.jump if first else self._report.at)(sum(self._done.values()))
        self._report.stage("fetching")
        if not first and done > before:
            self._patience.progressed()


def _said(line: bytes, server: str) -> _Line:
    try:
        return msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise garbage(line, server) from error


def _check_there(connection: Connection, pull: OllamaPull) -> None:
    """Raise ServerError if the server has not what it said it had fetched."""
    try:
        connection.show(pull.tag)
    except ModelNotFound as error:
        raise ServerError(
            "Ollama has not what it fetched",
            f"{pull.server} said that {printable(pull.tag)} is there, and then that it is not.",
            "Fetch it again. Another program may have removed it meanwhile: `ollama list` shows what there is.",
        ) from error
