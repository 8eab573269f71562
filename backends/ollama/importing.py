"""Bring a GGUF file of this machine into an Ollama server: for models that its library does not have.

A file is read through once, to know it by its hash, and sent only if the server does not have it. The model's name
says all that it is made of, so that a second import finds the first. What is stopped leaves nothing half-finished:
the server keeps a file only if its hash is right, and a model only if it was made.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from backends import file_hash, remembered
from backends.base import Cancel, Cancelled
from backends.errors import BackendError, BadModelFile, ModelNotFound, ServerError
from backends.events import LoadProgress
from backends.hardware.disk import disk_under
from backends.http.client import stoppable
from backends.ollama import address
from backends.ollama.connection import Connection
from backends.ollama.dialect import garbage
from backends.ollama.loading import parsed
from backends.ollama.modelfile import Import, describe
from backends.ollama_store import stores
from backends.origins import is_local, origin_of
from backends.shown import printable

_PIECE = 1024 * 1024
_TOLD_EVERY_S = 0.25
_SINCE = (0, 5, 5)  # the first release whose `create` takes files by their hashes
_COPIES_SINCE = (0, 30, 0)  # from here on it writes a second file of what was sent, and joins parts
_LEFT_FREE = 1_000_000_000

Report = Callable[[LoadProgress], None]


class _Status(msgspec.Struct):
    """One line of what `create` says. Beside an error, `status` is the number that HTTP would have for it."""

    status: str | int = ""
    error: Any = None


def bring(connection: Connection, url: str, path: Path, report: Report, cancel: Cancel) -> str:
    """Return the name under which a server has a GGUF file, imported if need be.

    Raises Cancelled, ModelNotFound, BadModelFile, and BackendError for whatever is in the way at the server.
    """
    with stoppable(connection.shut, cancel):
        try:
            return _bring(connection, url, describe(path), report, cancel)
        except BackendError as error:
            if cancel.is_set():
                raise Cancelled from error
            raise


def bring_to_server(path: Path, report: Report, cancel: Cancel, host: str = "") -> str:
    """Return the name under which the server of `host` has a GGUF file, by default that of OLLAMA_HOST.

    Raises as `bring` does, and NewOrigin, Unauthorized, BadOptions.
    """
    where = address.find(host)
    with contextlib.closing(Connection(where, address.allowed(where))) as connection:
        return bring(connection, where.url, path, report, cancel)


def digest_of(path: Path, report: Report = lambda _: None, cancel: Cancel | None = None) -> str:
    """Return a file's hash as Ollama writes it; the file is read through only where it never was, or has changed.

    Raises Cancelled, BadModelFile if it cannot be read.
    """
    what = f"reading {printable(path.name)} once, to know it"
    return file_hash.digest(path, lambda: _pieces(path, what, report, cancel or Cancel()))


def _bring(connection: Connection, url: str, model: Import, report: Report, cancel: Cancel) -> str:
    report(LoadProgress("reading", None, f"asking Ollama at {connection.server}"))
    version = connection.version()
    _check_version(version, model, connection.server)
    digests = tuple(digest_of(path, report, cancel) for path in model.files)
    name = model.named(digests)
    if _has(connection, name):
        return name
    missing = [
        (path, digest)
        for path, digest in zip(model.files, digests, strict=True)
        if not connection.has(f"/api/blobs/{digest}")
    ]
    _check_space(url, version, model, sum(path.stat().st_size for path, _ in missing))
    for path, digest in missing:
        pieces = _pieces(path, f"sending {printable(path.name)} to Ollama at {connection.server}", report, cancel)
        before = remembered.key_of_model(path)
        try:
            connection.send(f"/api/blobs/{digest}", pieces, path.stat().st_size)
        except BackendError as error:
            if remembered.key_of_model(path) == before:
                raise
            what = "It is being written just now, or it went away."
            raise BadModelFile(
                "The model file changed while it was sent", what, "Try again when it is whole."
            ) from error
    _create(connection, name, model, digests, report, cancel)
    return name


def _create(
    connection: Connection, name: str, model: Import, digests: tuple[str, ...], report: Report, cancel: Cancel
) -> None:
    """Have the server make the model of what it was sent. Raises Cancelled, BackendError."""
    files = {path.name: digest for path, digest in zip(model.files, digests, strict=True)}
    body: dict[str, Any] = {"model": name, "files": files}
    if model.template:
        body["template"] = model.template
    if model.parameters:
        body["parameters"] = model.parameters
    done = False
    with connection.lines("/api/create", body, name) as lines:
        for line in lines:
            if cancel.is_set():
                raise Cancelled
            if not line.strip():
                continue
            said = _said(line, connection.server)
            if said.error is not None:
                raise connection.refused(said.status if isinstance(said.status, int) else 500, line, name)
            done = done or said.status == "success"
            report(LoadProgress("reading", None, f"Ollama makes {name}: {printable(str(said.status))}"))
    if not done:
        raise ServerError(
            "Ollama did not finish the model",
            f"{connection.server} closed the line before it said that {name} was made.",
            "Try again: what was sent is there. The server's log may say why.",
        )


def _said(line: bytes, server: str) -> _Status:
    try:
        return msgspec.json.decode(line, type=_Status)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise garbage(line, server) from error


def _has(connection: Connection, name: str) -> bool:
    try:
        connection.show(name)
    except ModelNotFound:
        return False
    return True


def _check_version(version: str, model: Import, server: str) -> None:
    """Raise ServerError for a server that cannot take this file."""
    found = parsed(version)
    if found < _SINCE:
        what = f"{server} runs {version}; 0.5.5 and later can."
        raise ServerError("This Ollama is too old to be given a file", what, "Update Ollama.")
    if len(model.files) > 1 and found < _COPIES_SINCE:
        what = f"{server} runs {version}; 0.30 and later join its parts."
        raise ServerError("This Ollama is too old for a model in parts", what, "Update Ollama.")


def _check_space(url: str, version: str, model: Import, sent: int) -> None:
    """Raise ServerError where the disk of a server on this machine cannot hold what it will write.

    Which folder it uses only the server knows: it is refused only if none of those that there are has room.
    """
    if not is_local(origin_of(url)):
        return
    needed = sent + (model.size if parsed(version) >= _COPIES_SINCE else 0)
    free = [disk_under(store).free_bytes for store in stores() if store.is_dir()]
    known = [amount for amount in free if amount is not None]
    if not known or len(known) < len(free) or max(known) >= needed + _LEFT_FREE:
        return
    twice = " Ollama writes a copy of its own of the file it is sent, and removes that when it is started again."
    raise ServerError(
        "There is not enough space for the import",
        f"{_gb(needed)} would be written, and {_gb(max(known))} are free where Ollama keeps its models."
        + (twice if needed > sent else ""),
        "Free some: `ollama list` and `ollama rm` show and remove its models, `deepseek-tui models` everybody's.",
    )


def _pieces(path: Path, what: str, report: Report, cancel: Cancel) -> Iterator[bytes]:
    """Yield a file piece by piece and tell how far it is. Raises Cancelled, BadModelFile."""
    told, done = 0.0, 0
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            while piece := file.read(_PIECE):
                if cancel.is_set():
                    raise Cancelled
                yield piece
                done += len(piece)
                if (now := time.monotonic()) - told >= _TOLD_EVERY_S or done == size:
                    told = now
                    share = min(1.0, done / size)
                    report(LoadProgress("reading", share, f"{what}: {_gb(done)} of {_gb(size)}"))
    except OSError as error:
        what = f"{printable(str(path), 400)}: {error.strerror or error}"
        raise BadModelFile(
            "The model file cannot be read", what, "Look at its permissions, and at the disk."
        ) from error


def _gb(amount: int) -> str:
    return f"{amount / 1e9:.1f} GB"
