"""Errors that a person can act on: what happened, where, and what to do.

Every error carries `title` (one line), `detail` (what and where) and `hint` (the next step).
"""

from __future__ import annotations

from typing import ClassVar

import msgspec


class Problem(Exception):
    """Anything that goes wrong in a way we expect, told so that the reader can mend it."""

    def __init__(self, title: str, detail: str = "", hint: str = "") -> None:
        super().__init__(title, detail, hint)
        self.title = title
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return ": ".join(part for part in (self.title, self.detail) if part)


class BackendError(Problem):
    """A failure of an engine or a server. `kind` is its stable name on the wire and in JSON."""

    kind: ClassVar[str] = "backend_error"


class NotInstalled(BackendError):
    """The engine's package is missing or cannot be imported."""

    kind = "not_installed"


class ModelNotFound(BackendError):
    """The file or server model that the preset names is not there."""

    kind = "model_not_found"


class BadModelFile(BackendError):
    """The file is there but is not a model that this engine can read."""

    kind = "bad_model_file"


class BadOptions(BackendError):
    """An option has a value that the engine refuses."""

    kind = "bad_options"


class OutOfMemory(BackendError):
    """The card or the machine has too little memory for this model with these options."""

    kind = "out_of_memory"


class ContextOverflow(BackendError):
    """The prompt alone is longer than the context."""

    kind = "context_overflow"


class ServerUnreachable(BackendError):
    """A server that the backend needs does not answer."""

    kind = "server_unreachable"


class ServerError(BackendError):
    """A server answered with what is no answer: a failure of its own, garbage, or a stream without an end."""

    kind = "server_error"


class RateLimited(BackendError):
    """A server wants fewer requests, or a paid account has nothing left."""

    kind = "rate_limited"


class Unauthorized(BackendError):
    """A server wants a key, or refuses the one that it got."""

    kind = "unauthorized"


class NewOrigin(BackendError):
    """A preset names a server that the user has not confirmed yet. `detail` is its origin and nothing else."""

    kind = "new_origin"


class CannotContinue(BackendError):
    """This engine or server can only begin an answer anew, not go on with a partial one."""

    kind = "cannot_continue"


class EngineDied(BackendError):
    """The process around the engine ended without a word, or stopped answering."""

    kind = "engine_died"


class Unreadable(BackendError):
    """What the engine computes with could not be read any more, from the disk or from memory: its process has ended."""

    kind = "unreadable"


class Busy(BackendError):
    """Another client's answer is running, and nothing is ended unasked."""

    kind = "busy"


class ErrorInfo(msgspec.Struct, frozen=True):
    """An error as a value, for the wire, the spool, the store and JSON."""

    kind: str
    title: str
    detail: str = ""
    hint: str = ""


_KINDS: dict[str, type[BackendError]] = {
    cls.kind: cls
    for cls in (
        BackendError,
        NotInstalled,
        ModelNotFound,
        BadModelFile,
        BadOptions,
        OutOfMemory,
        ContextOverflow,
        ServerUnreachable,
        ServerError,
        RateLimited,
        Unauthorized,
        NewOrigin,
        CannotContinue,
        EngineDied,
        Unreadable,
        Busy,
    )
}


def to_info(error: BaseException) -> ErrorInfo:
    """Return any exception as a value; an unexpected one is named by its type."""
    if isinstance(error, BackendError):
        return ErrorInfo(error.kind, error.title, error.detail, error.hint)
    if isinstance(error, Problem):
        return ErrorInfo("problem", error.title, error.detail, error.hint)
    return ErrorInfo(
        BackendError.kind,
        "The engine failed unexpectedly",
        f"{type(error).__name__}: {error}",
        "Try again; if it happens again, `deepseek-tui doctor --report` writes what to report.",
    )


def from_info(info: ErrorInfo) -> BackendError:
    """Return the exception for a value that came over the wire; an unknown kind becomes a plain BackendError."""
    return _KINDS.get(info.kind, BackendError)(info.title, info.detail, info.hint)
