"""Where programs keep models on this machine, and every GGUF file and model folder that lies there.

Each place is walked within bounds: so many entries, so many folders deep, so much time. Names of folders and files are
anybody's; nothing is written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from backends import ollama_store
from backends.gguf.files import part_names
from backends.hardware import bounded
from presets.sources import hub_cache, models

Place = Literal["deepseek-tui", "Hugging Face", "Ollama", "LM Studio", "llama.cpp", "folder"]
"""Whose a file is; "folder" is one that the settings name."""

FOLDER_MARK, PARTS = "config.json", ".safetensors"
MAX_DEPTH = 8
MAX_ENTRIES = 50_000
MAX_FILES = 4000
_REPOSITORY, _SNAPSHOTS = "models--", "snapshots"


class Root(msgspec.Struct, frozen=True):
    """A folder of models of one program."""

    place: Place
    folder: Path


class Seen(msgspec.Struct, frozen=True):
    """A file, the first part of a split one, or a model folder, as it lies there.

    `name` is what its owner calls it: OWNER/REPO/FILE, a tag of Ollama, or its path below the place's folder.
    `repository` is OWNER/REPO where that is known, and `file` the path in it.
    """

    place: Place
    path: Path
    name: str
    repository: str = ""
    file: str = ""


class Walk:
    """The bounds of one look at a place. `cut` says that some of it was left out."""

    def __init__(self, patience_s: float) -> None:
        self._until = time.monotonic() + patience_s
        self._entries = MAX_ENTRIES
        self._files = MAX_FILES
        self._visited: set[tuple[int, int]] = set()
        self.cut = False

    def late(self) -> bool:
        """Say whether time is up, and note it."""
        self.cut = self.cut or time.monotonic() > self._until
        return self.cut

    def files(self, folder: Path, depth: int = 0) -> Iterator[Path]:
        """Yield the GGUF files at and below a folder: whole ones, and the first there is of the parts of each other.

        A folder with a config.json and .safetensors files is a model too, and is yielded itself.

        Linked folders are followed, each once. Raises OSError where the uppermost folder cannot be read.
        """
        try:
            status = folder.stat()
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            if depth == 0:
                raise
            return
        if (status.st_dev, status.st_ino) in self._visited:
            return
        self._visited.add((status.st_dev, status.st_ino))
        names = {entry.name for entry in entries}
        if FOLDER_MARK in names and any(name.endswith(PARTS) for name in names):
            yield folder
        split: set[tuple[str, ...]] = set()
        for entry in entries:
            self._entries -= 1
            if self._entries < 0 or self._files <= 0 or self.late():
                self.cut = True
                return
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:
                continue
            path = Path(entry.path)
            if is_folder and depth < MAX_DEPTH and not entry.name.startswith("."):
                yield from self.files(path, depth + 1)
            elif is_file and entry.name.lower().endswith(".gguf"):
                parts = part_names(entry.name)
                if parts not in split:
                    split.add(parts)
                    self._files -= 1
                    yield path


def roots(folders: tuple[Path, ...] = ()) -> tuple[Root, ...]:
    """Return the places to look at, whether they exist or not; `folders` are those that the settings name."""
    found = [Root("deepseek-tui", models()), Root("Hugging Face", hub_cache())]
    found += [Root("LM Studio", folder) for folder in _lm_studio()]
    found += [Root("llama.cpp", folder) for folder in _llama_cpp()]
    found += [Root("folder", folder) for folder in folders]
    found += [Root("Ollama", folder) for folder in ollama_store.stores()]
    return tuple({root.folder: root for root in reversed(found)}.values())[::-1]


def seen(root: Root, walk: Walk) -> Iterator[Seen]:
    """Yield the models of a place. Raises OSError where it is there and cannot be read."""
    try:
        match root.place:
            case "Hugging Face":
                yield from _hub_files(root.folder, walk)
            case "Ollama":
                for stored in ollama_store.stored_models(root.folder):
                    if walk.late():
                        return
                    yield Seen("Ollama", stored.weights, stored.tag)
            case _:
                for path in walk.files(root.folder):
                    yield _in_folder(root, path)
    except (FileNotFoundError, NotADirectoryError):
        return


def _in_folder(root: Root, path: Path) -> Seen:
    """Name a file by its path below the place; two folders there are publisher and repository."""
    inner = path.relative_to(root.folder)
    whole = len(inner.parts) > 2 or (len(inner.parts) == 2 and path.is_dir())
    owner, repo, *rest = inner.parts if whole else ("", "", *inner.parts)
    if root.place == "folder":
        return Seen(root.place, path, str(inner))
    return Seen(root.place, path, str(inner), f"{owner}/{repo.partition('@')[0]}" if owner else "", "/".join(rest))


def _hub_files(cache: Path, walk: Walk) -> Iterator[Seen]:
    """Yield the files of a Hugging Face cache: models--OWNER--REPO/snapshots/COMMIT/FILE, links to blobs."""
    with os.scandir(cache) as found:
        folders = sorted(entry.name for entry in found if entry.name.startswith(_REPOSITORY))
    for folder in folders:
        repository = folder.removeprefix(_REPOSITORY).replace("--", "/")
        snapshots = cache / folder / _SNAPSHOTS
        try:
            with os.scandir(snapshots) as found:
                commits = sorted(entry.name for entry in found)
        except OSError:
            continue
        for commit in commits:
            if walk.cut:
                return
            try:
                for path in walk.files(snapshots / commit):
                    inner = path.relative_to(snapshots / commit)
                    file = inner.as_posix() if inner.parts else ""
                    yield Seen("Hugging Face", path, f"{repository}/{file}".rstrip("/"), repository, file)
            except OSError:
                continue


def _lm_studio() -> Iterator[Path]:
    """Yield LM Studio's folders of models, by its rules: its home may be elsewhere, and its downloads too."""
    try:
        home = Path.home()
    except RuntimeError:
        return
    pointed = bounded.head(home / ".lmstudio-home-pointer", 4096).strip()
    homes = [Path(pointed)] if pointed.startswith("/") else []
    homes += [home / ".lmstudio", home / ".cache/lm-studio"]
    for base in homes:
        try:
            settings = msgspec.json.decode(bounded.head(base / "settings.json", 1 << 20))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            settings = None
        chosen = settings.get("downloadsFolder") if isinstance(settings, dict) else None
        if isinstance(chosen, str) and chosen.startswith("/") and "\0" not in chosen:
            yield Path(chosen)
        yield base / "models"
    yield home / "models/lmstudio"


def _llama_cpp() -> Iterator[Path]:
    """Yield the cache of llama.cpp's own programs, by the rules of fs_get_cache_directory in its common.cpp."""
    if named := os.environ.get("LLAMA_CACHE"):
        yield Path(named)
        return
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        yield (Path(base) if base.startswith("/") else Path.home() / ".cache") / "llama.cpp"
    except RuntimeError:
        return
