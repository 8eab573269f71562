"""What a job is, how far it has come, and how it looks from outside: values that its folder holds as JSON."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec

from backends.errors import ErrorInfo

State = Literal["running", "done", "failed", "stopped", "interrupted"]
"""`stopped` was wished; `interrupted` is whatever else ended it: killed, shut down with the machine, crashed."""


class JobSpec(msgspec.Struct, frozen=True):
    """What is to be done. Of one `kind` there is never more than one job with the same `target`.

    `title` is for people, `work` is for the kind: see `backends.jobs.kinds`. No key and no token belongs into it.
    """

    kind: str
    target: str
    title: str
    work: dict[str, Any] = {}


class Progress(msgspec.Struct, frozen=True):
    """How far a job is. None means unknown.

    `stage` is a stable word of its kind, `note` a sentence for the user. `bytes_per_s` is measured over the last
    seconds, `left_s` what follows from it. Times are in seconds since 1970. `result` is a path, once there is one.
    """

    state: State = "running"
    stage: str = "starting"
    note: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None
    bytes_per_s: float | None = None
    left_s: float | None = None
    started_at: float = 0.0
    updated_at: float = 0.0
    result: str = ""
    error: ErrorInfo | None = None


class JobView(msgspec.Struct, frozen=True):
    """A job as seen from outside. `stopping` says that it runs on, but was asked to end."""

    key: str
    folder: Path
    pid: int | None
    spec: JobSpec
    progress: Progress
    state: State
    stopping: bool = False

    @property
    def running(self) -> bool:
        return self.state == "running"


def key_of(spec: JobSpec) -> str:
    """Name a job by what it makes, whoever wants it and however."""
    content = msgspec.json.encode((spec.kind, spec.target))
    return hashlib.blake2b(content, digest_size=8).hexdigest()
