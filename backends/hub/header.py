"""The shape of a model at Hugging Face, from the first megabytes of its files, and what was found there before."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends import atomic, paths
from backends.base import Cancel
from backends.gguf.files import shape_from
from backends.gguf.problems import BadGguf
from backends.gguf.shape import Shape
from backends.hub.address import HubFile

PATIENCE_S = 20.0
_FORMAT = 2
"""Raised whenever `RemoteHeader`, `Shape` or what their numbers mean changes."""
_LARGEST_BYTES = 512 * 1024
_LONGEST_TEMPLATE = 64 * 1024
_COMMIT = re.compile(r"[0-9a-f]{40}")


class RemoteHeader(msgspec.Struct, frozen=True):
    """What is known of a model that is not here. `server` is who was asked, `read_at` when, in seconds since 1970.

    `commit` is the revision that was found, `sha256` the hash of the file as its publisher's server names it; "" where
    unknown. A model in parts has a hash for each, and none here.
    """

    file: HubFile
    shape: Shape
    server: str
    read_at: int
    commit: str = ""
    sha256: str = ""

    @property
    def lasting(self) -> bool:
        """Say whether it can never be another: the revision that was asked for is a commit."""
        return bool(_COMMIT.fullmatch(self.file.revision))


def fetch_header(file: HubFile, *, patience_s: float = PATIENCE_S, cancel: Cancel | None = None) -> RemoteHeader:
    """Read the shape of a model by requests for its first bytes, of all its parts, and remember it.

    Raises Cancelled when `cancel` is set, BadGguf for what is no model, ModelNotFound, Unauthorized, RateLimited,
    ServerError, ServerUnreachable, BadOptions.
    """
    from backends.hub import failures
    from backends.hub.address import endpoint, offline
    from backends.hub.connection import Connection
    from backends.hub.ranges import RemoteFile

    if variable := offline():
        raise failures.switched_off(variable, file)
    server = endpoint()
    folder, slash, name = file.file.rpartition("/")
    opened: dict[str, RemoteFile] = {}

    @contextlib.contextmanager
    def open_part(part: str) -> Iterator[RemoteFile]:
        # All parts of one commit, whatever is published meanwhile.
        commit = opened[name].commit if opened else ""
        of = msgspec.structs.replace(file, file=folder + slash + part, revision=commit or file.revision)
        opened[part] = RemoteFile(connection, server, of)
        yield opened[part]

    with Connection(server, patience_s, cancel) as connection:
        try:
            shape = shape_from(name, open_part)
        except BadGguf as error:
            raise _told(error, f"{file.owner}/{file.repo}/{folder}{slash}{error.file}") from error
    sha256 = opened[name].sha256 if len(shape.parts) == 1 else ""
    header = RemoteHeader(file, shape, server.partition("://")[2], int(time.time()), opened[name].commit, sha256)
    _keep(header)
    return header


def kept_header(file: HubFile) -> RemoteHeader | None:
    """Return what an earlier `fetch_header` found, None if there was none. Never raises, never uses the network."""
    try:
        # A pipe must not be waited for.
        descriptor = os.open(_place(file), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            stamp, _, content = opened.read(_LARGEST_BYTES).partition(b"\n")
        if stamp != _stamp(content):
            return None
        header = msgspec.json.decode(content, type=RemoteHeader)
    except (OSError, ValueError, RecursionError):
        return None
    return header if header.file == file else None


def _keep(header: RemoteHeader) -> None:
    """Remember a header in one step; what the disk refuses is dropped. A template beyond all measure is left out."""
    if len(header.shape.chat_template.encode("utf-8", "replace")) > _LONGEST_TEMPLATE:
        shape = msgspec.structs.replace(header.shape, chat_template="")
        header = msgspec.structs.replace(header, shape=shape)
    content = msgspec.json.encode(header)
    stamped = _stamp(content) + b"\n" + content
    if len(stamped) > _LARGEST_BYTES:
        return
    with contextlib.suppress(OSError):
        place = _place(header.file)
        paths.private(place.parent)
        atomic.replace(place, stamped)  # two at once may spoil it: the stamp tells


def _place(file: HubFile) -> Path:
    name = "\0".join((file.owner, file.repo, file.file, file.revision))
    return paths.cache() / "shapes" / f"{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.json"


def _stamp(content: bytes) -> bytes:
    """Return the first line of a file: its format, and a hash that tells a damaged one."""
    return f"deepseek-tui shape {_FORMAT} {hashlib.sha256(content).hexdigest()}".encode()


def _told(error: BadGguf, file: str) -> BadGguf:
    """Return the error for a file that is not here: fetching it again would not help."""
    hint = error.hint
    if "again" in hint or "part" in error.title:
        hint = "It is so where it was published: choose another file."
    return BadGguf(file, error.what, error.offset, title=error.title, hint=hint, missing_bytes=error.missing_bytes)
