"""The files of an Ollama server on this machine: which models they hold, and where their weights lie.

A store is a folder with `manifests/HOST/NAMESPACE/MODEL/TAG`, small JSON files that name layers by their hashes, and
`blobs/sha256-HASH`, the layers. The layer of the weights is a GGUF file that llama.cpp reads as it is. Nothing here
is ever written: the store is Ollama's.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends.hardware import bounded

MODEL_LAYER = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
# isValidPart of Ollama's types/model/name.go: host, namespace, model, tag.
_PARTS = (
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
)
_HOST, _NAMESPACE = "registry.ollama.ai", "library"
_LARGEST_MANIFEST = 256 * 1024
MAX_MODELS = 2000


class _Layer(msgspec.Struct, frozen=True):
    """A file of a model by its hash."""

    media_type: str = msgspec.field(default="", name="mediaType")
    digest: str = ""
    size: int = 0


class _Manifest(msgspec.Struct, frozen=True):
    """What a model is made of."""

    layers: tuple[_Layer, ...] = ()
    config: _Layer = _Layer()


class Stored(msgspec.Struct, frozen=True):
    """A model of a store. `tag` is what `ollama run` takes, `weights` its one GGUF file, which may be missing."""

    tag: str
    weights: Path
    size: int


def stores() -> tuple[Path, ...]:
    """Return the folders in which an Ollama server of this machine keeps its models, the user's own first.

    That is OLLAMA_MODELS, ~/.ollama/models, and the home of the user that its installer makes.
    """
    named = os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'")
    found = [Path(named)] if named else []
    with contextlib.suppress(RuntimeError):  # nobody has no home
        found.append(Path.home() / ".ollama/models")
    found.append(Path("/usr/share/ollama/.ollama/models"))
    return tuple(dict.fromkeys(found))


def stored_models(store: Path) -> Iterator[Stored]:
    """Yield the models of a store that have one GGUF file. Raises OSError for a folder that may not be read.

    A manifest that is damaged, or of a model without weights of its own, is passed over, as Ollama does.
    """
    manifests = store / "manifests"
    for number, path in enumerate(_manifests(manifests)):
        if number >= MAX_MODELS:
            return
        tag = tag_of(path.relative_to(manifests).parts)
        weights = _weights(path) if tag else None
        if weights is not None:
            yield Stored(tag, store / "blobs" / f"sha256-{_hash(weights.digest)}", max(0, weights.size))


def unused_bytes(store: Path) -> int:
    """Return how much of a store belongs to no model: what an import left behind, what was never fetched whole.

    Ollama removes that when it is started. Raises OSError for a folder that may not be read.
    """
    used: set[str] = set()
    for path in _manifests(store / "manifests"):
        manifest = _manifest(path)
        if manifest is None:
            return 0  # Ollama removes nothing where it cannot tell
        used |= {_hash(layer.digest) for layer in (*manifest.layers, manifest.config)}
    blobs = _entries(store / "blobs")
    return sum(_size(entry) for entry in blobs if entry.name.removeprefix("sha256-") not in used)


def tag_of(parts: tuple[str, ...]) -> str:
    """Return a model's name, as short as Ollama shows it, for the path of its manifest; "" if it cannot be one."""
    if len(parts) != len(_PARTS) or not all(form.fullmatch(part) for form, part in zip(_PARTS, parts, strict=True)):
        return ""
    host, namespace, model, tag = parts
    if host.lower() != _HOST:
        return f"{host}/{namespace}/{model}:{tag}"
    return f"{model}:{tag}" if namespace.lower() == _NAMESPACE else f"{namespace}/{model}:{tag}"


def _manifests(folder: Path) -> Iterator[Path]:
    """Yield the files four folders below, in order."""
    level = [folder]
    for _ in range(len(_PARTS)):
        level = [Path(entry.path) for above in level for entry in _entries(above)]
    yield from level


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder by name, nothing for what is no folder. Raises PermissionError."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except PermissionError:
        raise
    except OSError:
        return []


def _manifest(path: Path) -> _Manifest | None:
    try:
        return msgspec.json.decode(bounded.head(path, _LARGEST_MANIFEST), type=_Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0
    except OSError:
        return 0


def _weights(path: Path) -> _Layer | None:
    manifest = _manifest(path)
    layers = manifest.layers if manifest is not None else ()
    found = [layer for layer in layers if layer.media_type == MODEL_LAYER and _hash(layer.digest)]
    # Several are parts that Ollama joins by itself: none of them can be run alone.
    return found[0] if len(found) == 1 else None


def _hash(digest: str) -> str:
    found = _DIGEST.fullmatch(digest)
    return found[1].lower() if found else ""
