"""Room on the disk: which presets use which models, and removing what nobody needs.

Only what is ours or lies in the Hugging Face cache is ever removed. Everybody else's files are theirs: what is said is
their own command. What an engine has loaded, or a download is writing, stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from backends.errors import Problem
from backends.gguf.files import part_names
from backends.hardware.patience import Question, Unanswered
from backends.jobs import launch as jobs
from backends.jobs.job import JobView
from backends.ollama_store import stores, unused_bytes
from backends.shown import printable, shown_path
from presets.found import Found
from presets.found_places import Place
from presets.schema import PresetEntry, source_for
from presets.sources import Ollama, hub_cache, locate, models, parse

_OURS: tuple[Place, ...] = ("deepseek-tui", "Hugging Face")
_PART, _INCOMPLETE = ".part", ".incomplete"
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class Removed(msgspec.Struct, frozen=True):
    """What was removed. `freed_bytes` is what the disk has back; `note` says where that is less than the model."""

    paths: tuple[Path, ...]
    freed_bytes: int
    note: str = ""


class Leftover(msgspec.Struct, frozen=True):
    """What a download has left of a file that is not whole. `busy` says that one is at it."""

    place: Place
    path: Path
    size: int
    busy: bool


def file_ids(one: Found) -> set[tuple[int, int]]:
    """Return what tells a model's files from all others on this machine, whatever they are called."""
    found = set()
    for path in one.paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            found.add((status.st_dev, status.st_ino))
    return found


def users(entries: Iterable[PresetEntry], found: Iterable[Found]) -> dict[str, list[Found]]:
    """Return the models that each preset uses with any of its backends, by the preset's name."""
    models_here = [(one, file_ids(one)) for one in found]
    used: dict[str, list[Found]] = {}
    for entry in entries:
        uses = [one for backend in entry.preset.backends for one in _used_by(entry, backend, models_here)]
        used[entry.name] = list({one.path: one for one in uses}.values())
    return used


def not_ours(one: Found) -> Problem | None:
    """Return why a model is not removed here, with its owner's own command; None for what may be removed."""
    name = one.name
    hints = {
        "Ollama": f"Run: {shlex.join(['ollama', 'rm', name])}",
        "LM Studio": "Remove it there, under My Models.",
        "llama.cpp": f"If no program of yours needs it: {shlex.join(['rm', '--', str(one.path)])}",
        "folder": f"It is in a folder of yours: {shlex.join(['rm', '--', str(one.path)])}",
    }
    if one.place in _OURS:
        return None
    whose = "a folder that you named" if one.place == "folder" else one.place
    return Problem(f"{name} belongs to {whose}", shown_path(one.path), printable(hints[one.place], 4096))


def remove(one: Found) -> Removed:
    """Remove a model of ours or of the Hugging Face cache. Raises Problem for any other, and where it cannot be."""
    if problem := not_ours(one):
        raise problem
    try:
        return _from_hub_cache(one) if one.place == "Hugging Face" else _from_ours(one)
    except OSError as error:
        what = f"{shown_path(Path(error.filename or one.path))}: {error.strerror or error}"
        raise Problem(f"{one.name} cannot be removed", what, "Look at the owner of the folder.") from error


def leftovers() -> tuple[Leftover, ...]:
    """Return what downloads have left unfinished, ours and those of the Hugging Face cache. Never raises."""
    found: list[Leftover] = []
    # The parts of a split model that are whole are held by nobody until all of them are.
    ours = [(path, bool(_locked(path) or fetching(path))) for path in _below(models(), f"*{_PART}", 6)]
    theirs = _below(hub_cache(), f"models--*/blobs/*{_INCOMPLETE}", 0)
    for path, busy in ours:
        with contextlib.suppress(OSError):
            found.append(Leftover("deepseek-tui", path, path.stat().st_size, busy))
    for path in theirs:
        with contextlib.suppress(OSError):
            found.append(Leftover("Hugging Face", path, path.stat().st_size, _locked(_lock_of(path))))
    return tuple(found)


def fetching(path: Path) -> str:
    """Return the title of a running job that writes into the folder of a model, "" if there is none."""
    return next((job.spec.title for job in _jobs_into(path) if job.running), "")


def unused_by_ollama(patience_s: float = 3.0) -> dict[Path, int]:
    """Return how many bytes of Ollama's stores belong to no model, by folder, where there are any. Never raises."""

    def look(store: Path) -> Callable[[], int]:
        return lambda: unused_bytes(store)

    asked = {store: Question(f"what is unused in {store}", look(store)) for store in stores()}
    found: dict[Path, int] = {}
    for store, question in asked.items():
        with contextlib.suppress(Unanswered, OSError):
            if amount := question.answer(patience_s):
                found[store] = amount
    return found


def discard(one: Leftover) -> int:
    """Remove what a download has left; return the bytes. Raises Problem if one is at it, or it cannot be."""
    ours = one.place == "deepseek-tui"
    try:
        with _held(one.path if ours else _lock_of(one.path)) as held:
            if not held or (ours and fetching(one.path)):
                raise Problem("It is being fetched just now", shown_path(one.path), "`deepseek-tui ps` shows it.")
            one.path.unlink()
        if ours:
            one.path.with_name(one.path.name + ".json").unlink(missing_ok=True)
            _forget_jobs(one.path)
            _prune(one.path.parent, models())
    except OSError as error:
        raise Problem("It cannot be removed", f"{shown_path(one.path)}: {error.strerror}", "") from error
    return one.size


def _jobs_into(path: Path) -> Iterator[JobView]:
    for job in jobs.survey():
        folder = job.spec.work.get("folder")
        if isinstance(folder, str) and Path(folder) in (path, *path.parents):
            yield job


def _forget_jobs(path: Path) -> None:
    """Forget the fetches into a folder of which nothing is left: nobody is to be told that some of it is here."""
    for job in _jobs_into(path):
        if job.state != "done" and not _below(Path(str(job.spec.work["folder"])), f"*{_PART}", 6):
            with contextlib.suppress(OSError):
                jobs.forget(job.key)


def _used_by(entry: PresetEntry, backend: str, found: list[tuple[Found, set[tuple[int, int]]]]) -> Iterator[Found]:
    try:
        source = parse(source_for(entry.preset, backend, name=entry.name))
        located = locate(source)
        if isinstance(source, Ollama):
            tag = source.tag if ":" in source.tag.rpartition("/")[2] else f"{source.tag}:latest"
            yield from (one for one, _ in found if one.place == "Ollama" and tag in {one.name, *one.also})
        elif located.present and located.path is not None:
            status = located.path.stat()
            yield from (one for one, ids in found if (status.st_dev, status.st_ino) in ids)
    except (Problem, OSError):
        return


def _from_ours(one: Found) -> Removed:
    """Remove our own copy of a model, all its parts, and folders that are empty then. Raises OSError."""
    # The same file may lie elsewhere too, under another name: only what is below our folder goes.
    own = [path for path in one.paths if models() in path.parents]
    folders = [path if path.is_dir() else path.parent for path in own]
    gone, freed = _unlinked([file for path in own for file in _model_files(path, models())])
    for folder in folders:
        _prune(folder, models())
    return Removed(gone, freed, _kept_elsewhere(one, freed))


def _from_hub_cache(one: Found) -> Removed:
    """Remove a model from the cache as huggingface_hub does: links of snapshots first, their blobs last.

    Other files of the repository stay. A snapshot that is empty then goes with the references to it, and a repository
    without snapshots goes whole, unless a file of it is being downloaded, or was to a part. Raises OSError.
    """
    links: list[Path] = []
    repositories: set[Path] = set()
    for path in one.paths:
        repository = _repository(path)
        if repository is not None:
            repositories.add(repository)
            links += _model_files(path, repository)
    blobs = {_blob(link) for link in links if link.is_symlink()}
    gone: list[Path] = []
    freed = 0
    for repository in repositories:
        # Every name that leads to a blob which goes, also in snapshots that were not asked for.
        every = [path for path in _files(repository / "snapshots") if path.is_symlink() and _blob(path) in blobs]
        unlinked, more = _unlinked(
            list(dict.fromkeys([*(link for link in links if repository in link.parents), *every]))
        )
        own_blobs = [blob for blob in blobs if blob.parent == repository / "blobs"]
        shared = [blob for blob in own_blobs if blob.is_symlink()]
        gone_blobs, blob_bytes = _unlinked(own_blobs)
        gone += [*unlinked, *gone_blobs]
        freed += more + blob_bytes
        _forget_empty(repository)
        if shared:
            note = "The cache shares this file among repositories; `hf cache prune` gives its space back."
            return Removed(tuple(gone), freed, note)
    return Removed(tuple(gone), freed, _kept_elsewhere(one, freed))


def _model_files(path: Path, within: Path) -> list[Path]:
    """Return the files of a model: all parts, or what is directly in a folder and is no other model.

    Raises Problem for one that is reached through a linked folder: its files are somebody else's.
    """
    folder = path if path.is_dir() else path.parent
    if not folder.resolve().is_relative_to(within.resolve()):
        hint = f"Remove the link, or what it leads to: {shown_path(folder.resolve())}"
        raise Problem("It is in a folder that is only linked here", shown_path(path), hint)
    if path.is_dir():
        others = (".gguf", _PART, f"{_PART}.json")  # models of their own, and what is to become one
        files = [file for file in path.iterdir() if not file.name.lower().endswith(others)]
        return [file for file in files if file.is_symlink() or file.is_file()]
    return [path.with_name(name) for name in part_names(path.name)]


def _forget_empty(repository: Path) -> None:
    """Remove snapshots without files, the references to them, and then a repository of which nothing is left."""
    snapshots = repository / "snapshots"
    left = []
    for snapshot in sorted(snapshots.iterdir()):
        if _files(snapshot):
            left.append(snapshot.name)
            continue
        for reference in _files(repository / "refs"):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if reference.read_text("ascii").strip() == snapshot.name:
                    reference.unlink()
        shutil.rmtree(snapshot)
    if not left and not any((repository / "blobs").glob(f"*{_INCOMPLETE}")):
        shutil.rmtree(repository)
        shutil.rmtree(repository.parent / ".locks" / repository.name, ignore_errors=True)


def _repository(path: Path) -> Path | None:
    """Return the folder of the repository in the cache that a file of a snapshot belongs to."""
    cache = hub_cache()
    try:
        inner = path.relative_to(cache).parts
    except ValueError:
        return None
    good = (
        len(inner) > 2 and inner[0].startswith("models--") and inner[1] == "snapshots" and _COMMIT.fullmatch(inner[2])
    )
    return cache / inner[0] if good else None


def _blob(link: Path) -> Path:
    """Return where a link of a snapshot leads: only one step, for a blob may be a link into a store of its own."""
    return Path(os.path.normpath(link.parent / link.readlink()))


def _unlinked(files: list[Path]) -> tuple[tuple[Path, ...], int]:
    """Remove files; return them, and the bytes that nobody else holds. Raises OSError."""
    gone, freed = [], 0
    for path in files:
        try:
            status = path.lstat()
            path.unlink()
        except FileNotFoundError:
            continue
        gone.append(path)
        freed += status.st_size if status.st_nlink == 1 and stat.S_ISREG(status.st_mode) else 0
    return tuple(gone), freed


def _files(folder: Path) -> list[Path]:
    """Return all files and links below a folder, without following links to folders."""
    return [Path(base) / name for base, _, names in os.walk(folder) for name in names]


def _prune(folder: Path, end: Path) -> None:
    """Remove empty folders from here up to, and without, `end`."""
    while end in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _kept_elsewhere(one: Found, freed: int) -> str:
    return "" if freed >= one.size else "The same file is elsewhere too, so the disk has less back than its size."


def _below(folder: Path, pattern: str, depth: int) -> list[Path]:
    """Return the files that match below a folder, at most so many folders deep. Never raises."""
    found: list[Path] = []
    try:
        for level in range(depth + 1):
            found += [path for path in folder.glob("*/" * level + pattern) if path.is_file() and not path.is_symlink()]
    except OSError:
        pass
    return sorted(found)


def _lock_of(incomplete: Path) -> Path:
    """Return what huggingface_hub locks while it writes a file of its cache."""
    name = f"{incomplete.name.removesuffix(_INCOMPLETE)}.lock"
    return hub_cache() / ".locks" / incomplete.parent.parent.name / name


def _locked(path: Path) -> bool:
    """Say whether a process holds a lock on a file."""
    with _held(path) as held:
        return not held


@contextlib.contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Keep downloads away from a file, if it is there; false where one is at it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # a download takes it for itself alone
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
