"""Which files a model is made of: one, the parts of a split one, or what an engine needs of a model folder."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import msgspec

from backends.errors import ModelNotFound
from backends.gguf.files import part_names
from backends.hub import failures
from backends.hub.address import HubFile, file_url
from backends.hub.connection import Connection
from backends.hub.part import Identity
from backends.shown import printable

MARK = "config.json"
"""Without it a folder is no model, so it gets its name last."""
_NEEDED = {".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken"}
_ALSO = re.compile(r"(?i)(licen[cs]e|notice|use_policy)([._-].*)?")
_LARGEST_BYTES = 16 * 1024**2
_MOST = 2000
_SHA256, _SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


class Entry(msgspec.Struct, frozen=True):
    """One file to fetch: what it is at the hub, what is in it, and its place in our folder for the repository."""

    file: HubFile
    identity: Identity
    place: PurePosixPath


class _Lfs(msgspec.Struct):
    sha256: str = ""
    size: int | None = None


class _Sibling(msgspec.Struct, rename={"blob": "blobId"}):
    rfilename: str
    size: int | None = None
    blob: str = ""
    lfs: _Lfs | None = None


class _Repository(msgspec.Struct):
    sha: str = ""
    siblings: list[_Sibling] = []


def entries(connection: Connection, server: str, file: HubFile) -> tuple[Entry, ...]:
    """Return the files of a model, all of one commit; the one that makes it a model is the last.

    Raises BackendError, and Cancelled.
    """
    if not file.file or file.file.endswith("/"):
        return _of_folder(connection, server, file)
    folder, slash, name = file.file.rpartition("/")
    first = _of_file(connection, server, file)
    others = [part for part in part_names(name) if part != name]
    of = [msgspec.structs.replace(first.file, file=folder + slash + part) for part in others]
    return (*(_of_file(connection, server, part) for part in of), first)


def safe_place(file: str) -> PurePosixPath:
    """Return a file's place below our folder. Raises ServerError for a name that leads anywhere else."""
    parts = file.split("/")
    bad = any(part in {"", ".", ".."} or len(part.encode("utf-8", "surrogatepass")) > 240 for part in parts)
    if bad or "\\" in file or not file.isprintable():
        raise failures.unsafe_name(file)
    return PurePosixPath(*parts)


def below(folder: Path, place: PurePosixPath) -> Path:
    return folder.joinpath(*place.parts)


def _of_file(connection: Connection, server: str, file: HubFile) -> Entry:
    told = connection.facts(file, file_url(file, server))
    # From here on the same commit, whatever is published meanwhile.
    fixed = msgspec.structs.replace(file, revision=told.commit or file.revision)
    identity = Identity(told.size, told.sha256, commit=told.commit, etag=told.etag)
    return Entry(fixed, identity, safe_place(file.file))


def _of_folder(connection: Connection, server: str, file: HubFile) -> tuple[Entry, ...]:
    host = server.partition("://")[2]
    revision = quote(file.revision or "main", safe="")
    url = f"{server}/api/models/{quote(file.owner)}/{quote(file.repo)}/revision/{revision}?blobs=true"
    said = connection.json(file, url, _LARGEST_BYTES)
    try:
        found = msgspec.json.decode(said, type=_Repository)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise failures.nonsense(file, host, "what it says of the repository cannot be read.") from None
    if len(found.siblings) > _MOST:
        raise failures.nonsense(file, host, f"it names {len(found.siblings)} files.")
    commit = found.sha if _SHA1.fullmatch(found.sha) else ""
    listed = [_entry(file, one, commit, host) for one in found.siblings if _needed(file.file, one.rfilename)]
    marks = [entry for entry in listed if entry.place.name == MARK]
    if not marks or not any(entry.place.suffix == ".safetensors" for entry in listed):
        where = printable(f"{file.owner}/{file.repo}/{file.file}".rstrip("/"), 300)
        raise ModelNotFound(
            f"{where} is no model folder",
            f"It has no {MARK} with *.safetensors beside it.",
            f"Name a file of it (https://huggingface.co/{where}), or a revision behind @.",
        )
    return (*(entry for entry in listed if entry not in marks), *marks)


def _needed(folder: str, name: str) -> bool:
    """Say whether an engine needs a file: those of the folder itself, without pictures and other formats."""
    inner = name.removeprefix(folder)
    if not name.startswith(folder) or "/" in inner or inner.startswith("."):
        return False
    return PurePosixPath(inner).suffix in _NEEDED or bool(_ALSO.fullmatch(inner))


def _entry(file: HubFile, one: _Sibling, commit: str, host: str) -> Entry:
    size = one.lfs.size if one.lfs is not None and one.lfs.size is not None else one.size
    if size is None or size < 0:
        raise failures.nonsense(file, host, f"it does not say how long {printable(one.rfilename)} is.")
    sha256 = one.lfs.sha256 if one.lfs is not None and _SHA256.fullmatch(one.lfs.sha256) else ""
    blob = one.blob if one.lfs is None and _SHA1.fullmatch(one.blob) else ""
    wanted = msgspec.structs.replace(file, file=one.rfilename, revision=commit or file.revision)
    return Entry(wanted, Identity(size, sha256, blob, commit), safe_place(one.rfilename))
