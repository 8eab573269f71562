"""Models that are on this machine already, whoever fetched them: in caches, in Ollama's store, in folders of the user.

A preset whose model is not downloaded can use the same model where another program keeps it, without a second copy.
Looking never blocks: a place that does not answer is named and left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from backends.hardware.patience import Question, Unanswered
from backends.hub.address import HubFile
from backends.hub.header import kept_header
from backends.shown import printable, shown_path
from presets.families import shape_by_rules
from presets.found_headers import Facts, Headers
from presets.found_places import FOLDER_MARK, PARTS, Place, Root, Seen, Walk, roots, seen
from presets.problems import PresetError
from presets.schema import PresetEntry, source_for
from presets.sources import HuggingFace, Source, SourceError, parse

PATIENCE_S = 10.0
_LOOKED = 0.8
"""A place that is slow but alive tells after this part of the time what it has, before it would be given up."""
_RUNS = "llama_cpp"
_ORDER: tuple[Place, ...] = ("deepseek-tui", "Hugging Face", "LM Studio", "llama.cpp", "folder", "Ollama")

_FileId = tuple[int, int]
_Looked = tuple[list[tuple[_FileId, "Found"]], bool]


class Found(msgspec.Struct, frozen=True):
    """A model of this machine: its GGUF file or the first of its parts, or its folder. Text in it is printable.

    `name` is what its owner calls it: OWNER/REPO/FILE, a tag of Ollama, or its path below a folder. `size` is in bytes,
    of all parts. `family`, `architecture` and `quantization` are what the header says, "" where it does not; `problem`
    says why it is no model that can be run. `also` are other names of the very same file, and `paths` all of them.
    """

    place: Place
    name: str
    path: Path
    size: int
    family: str = ""
    architecture: str = ""
    layers: int = 0
    hidden: int = 0
    quantization: str = ""
    context: int | None = None
    thinks: bool = False
    problem: str = ""
    repository: str = ""
    file: str = ""
    also: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()


class Search(msgspec.Struct, frozen=True):
    """What was found, by place and name, and what could not be looked at, a sentence each."""

    found: tuple[Found, ...]
    troubles: tuple[str, ...] = ()


def find_models(folders: Iterable[Path] = (), patience_s: float = PATIENCE_S) -> Search:
    """Look for GGUF models in all places of this machine; `folders` are those that the settings name.

    Takes as long as `patience_s` at most, and milliseconds where the files were looked at before. Never raises.
    """
    headers, walk_s = Headers(), patience_s * _LOOKED
    asked = [
        (root, Question(f"look into {root.folder}", _look(root, headers, walk_s))) for root in roots(tuple(folders))
    ]
    files: dict[_FileId, Found] = {}
    troubles: list[str] = []
    for root, question in asked:
        try:
            looked, cut = question.answer(patience_s)
        except Unanswered as silent:
            troubles.append(f"{root.place}: {shown_path(root.folder)} has not answered for {silent.silent_s:.0f} s.")
            continue
        except OSError as error:
            more = " Being in the group ollama helps." if root.place == "Ollama" else ""
            troubles.append(f"{root.place}: {shown_path(root.folder)} cannot be read: {error.strerror}.{more}")
            continue
        if cut:
            troubles.append(f"{root.place}: there is more in {shown_path(root.folder)} than could be looked at.")
        for key, found in looked:
            known = files.get(key)
            files[key] = found if known is None else _joined(known, found)
    headers.save()
    ordered = sorted(files.values(), key=lambda one: (_ORDER.index(one.place), one.name.casefold()))
    return Search(tuple(ordered), tuple(troubles))


def match(entry: PresetEntry, found: Iterable[Found]) -> Found | None:
    """Return the file that is the very model which a preset wants for llama.cpp, None if there is none.

    It is the same if it is the file of the same name and size, or if its header names the same model and the same
    quantisation, and its dimensions are those of that model as far as they are known.
    """
    candidates = [one for one in found if not one.problem]
    try:
        source = parse(source_for(entry.preset, _RUNS, name=entry.name))
    except (PresetError, SourceError):
        return None
    wanted = source.file.rpartition("/")[2] if isinstance(source, HuggingFace) else ""
    size = _published_size(source)
    for one in candidates:
        if wanted and size is not None and one.size == size and Path(one.file or one.name).name == wanted:
            return one
    model = entry.preset.model
    return next((one for one in candidates if is_model(one, model.family, model.quantization)), None)


def is_model(found: Found, family: str, quantization: str) -> bool:
    """Say whether a file is by its header the model `family` in the quantisation `quantization`."""
    if found.problem or _plain(found.quantization) != _plain(quantization) or not found.quantization:
        return False
    rules = shape_by_rules(family, quantization)
    if rules is not None and (found.architecture, found.layers, found.hidden) != (
        rules.architecture,
        rules.layers,
        rules.hidden,
    ):
        return False
    return bool(_plain(family)) and _plain(found.family) == _plain(family.rpartition("/")[2])


def choose(text: str, found: Iterable[Found]) -> Found | None:
    """Return the found model that `text` names: its path, its name, another name of it, or an end of the name.

    A model that lies where `text` says, seen from here, is nearer than any of that name.
    """
    models = list(found)
    path, lies_there = _as_path(text)
    paths = [one for one in models if path in {str(one.path), *map(str, one.paths)}]
    if lies_there:
        return paths[0] if paths else None
    names = [one for one in models if text in {one.name, *one.also}]
    ends = [one for one in models if any(_ends(name, text) for name in (one.name, *one.also))]
    return next((hits[0] for hits in (paths, names, ends) if len(hits) == 1), None)


def _as_path(text: str) -> tuple[str, bool]:
    """Return a text as a whole path, and whether a model lies there."""
    try:
        path = Path(os.path.normpath(Path(text).expanduser().absolute()))
        lies_there = path.is_file() if path.name.lower().endswith(".gguf") else (path / FOLDER_MARK).is_file()
        return str(path), bool(text) and lies_there
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, nobody's home
        return text, False


def _published_size(source: Source) -> int | None:
    """Return what Hugging Face said of a file's size when its header was read, None where it never was."""
    if not isinstance(source, HuggingFace):
        return None
    header = kept_header(HubFile(source.owner, source.repo, source.file, source.revision))
    return None if header is None else header.shape.file_bytes


def _ends(name: str, text: str) -> bool:
    """Say whether a name ends with a text, from a / on, both with or without .gguf."""
    return bool(text) and f"/{_bare(name)}".endswith(f"/{_bare(text)}")


def _bare(text: str) -> str:
    return text.casefold().removesuffix(".gguf")


def _look(root: Root, headers: Headers, walk_s: float) -> Callable[[], _Looked]:
    """Return the look at one place, as a call of its own."""

    def look() -> _Looked:
        walk = Walk(walk_s)
        looked: list[tuple[_FileId, Found]] = []
        for one in seen(root, walk):
            try:
                status, facts = (
                    _of_folder(one.path) if one.path.is_dir() else (one.path.stat(), headers.facts(one.path))
                )
            except (OSError, ValueError):
                continue  # it went away, or its link leads nowhere
            looked.append(((status.st_dev, status.st_ino), _found(one, facts)))
            if walk.late():
                break
        return looked, walk.cut

    return look


def _of_folder(folder: Path) -> tuple[os.stat_result, Facts]:
    """Return what tells a model folder from another, and its size. Raises OSError, ValueError for one without files."""
    files = sorted(path for path in folder.iterdir() if path.name.endswith(PARTS))
    found = [path.stat() for path in files]
    return min(found, key=lambda status: (status.st_dev, status.st_ino)), Facts(sum(one.st_size for one in found))


def _found(one: Seen, facts: Facts) -> Found:
    return Found(
        one.place,
        printable(one.name, 400),
        one.path,
        facts.size,
        facts.name,
        facts.architecture,
        facts.layers,
        facts.hidden,
        facts.quantization,
        facts.context,
        facts.thinks,
        facts.problem,
        printable(one.repository, 200),
        printable(one.file, 300),
        paths=(one.path,),
    )


def _joined(known: Found, other: Found) -> Found:
    """Count a file once that lies at two places or under two names."""
    name = other.name if other.place == known.place else f"{other.place}: {other.name}"
    also = known.also if name in {known.name, *known.also} else (*known.also, name)
    return msgspec.structs.replace(known, also=also, paths=(*known.paths, *other.paths))


def _plain(text: str) -> str:
    """Return a model's name for comparison: only letters and digits, in small letters."""
    return re.sub(r"[^a-z0-9]", "", text.casefold())
