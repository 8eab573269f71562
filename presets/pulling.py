"""From a source to the job that fetches it, and from a preset to the jobs that fetch or make its models.

Beginning and watching one is `backends.jobs.launch`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from backends.errors import Problem
from backends.hub.address import HubFile
from backends.hub.wanted import KIND, Pull
from backends.jobs.job import JobSpec, key_of
from presets import building
from presets.built import built_file
from presets.schema import PresetEntry, source_for
from presets.sources import HuggingFace, LocalFile, Ollama, fetched_to, parse

if TYPE_CHECKING:
    from backends.ollama.wanted import OllamaPull

OLLAMA_KIND = "ollama_pull"
KINDS = frozenset({KIND, OLLAMA_KIND})
"""The kinds of jobs that fetch a model."""


def place_of(source: HuggingFace) -> Path:
    """Return where a model will be, once it is fetched: its file, or its folder."""
    return fetched_to(source) / source.file


def wanted(entry: PresetEntry, backend: str) -> HuggingFace | OllamaPull | None:
    """Return what can be fetched for a preset's backend: a file, or a model by its server; None where nothing can be.

    Raises Problem for a source or a server's address that cannot be one.
    """
    source = parse(source_for(entry.preset, backend, name=entry.name))
    if isinstance(source, Ollama):
        return by_ollama(source, entry.preset.backends[backend].get("host"))
    return source if isinstance(source, HuggingFace) else None


def by_ollama(source: Ollama, host: object = "") -> OllamaPull:
    """Return what the server of a preset's `host` is to fetch, by default that of OLLAMA_HOST. Raises BadOptions."""
    from backends.ollama.wanted import wanted as wanted_of_ollama

    return wanted_of_ollama(source.tag, host if isinstance(host, str) else "")


def keys(entry: PresetEntry) -> tuple[str, ...]:
    """Return the keys of the jobs that fetch or make a preset's models, each once, whether there are such or not."""
    found: dict[str, None] = {}
    preset = entry.preset
    for backend in preset.backends:
        try:
            source = wanted(entry, backend)
            made = _file_of(entry, backend)
        except Problem:
            continue
        if source is not None:
            found[job_key(source)] = None
        if made is not None:
            found[building.job_key(made)] = None
    if preset.build is not None:
        found[building.job_key(built_file(preset.model.family, preset.build.recipe))] = None
    return tuple(found)


def _file_of(entry: PresetEntry, backend: str) -> Path | None:
    """Return the file of this machine that a preset names. Raises Problem for a source that cannot be one."""
    source = parse(source_for(entry.preset, backend, name=entry.name))
    if not isinstance(source, LocalFile):
        return None
    try:
        return Path(source.path).expanduser()
    except RuntimeError:  # nobody's home
        return None


def job_for(source: HuggingFace | OllamaPull, title: str, *, force: bool = False) -> JobSpec:
    """Return the job that fetches a model. However it is called, of one model there is one."""
    if not isinstance(source, HuggingFace):
        return JobSpec(OLLAMA_KIND, source.target, title, msgspec.to_builtins(source))
    file = HubFile(source.owner, source.repo, source.file, source.revision)
    pull = Pull(file, str(fetched_to(source)), source.sha256, force)
    return JobSpec(KIND, str(place_of(source)), title, msgspec.to_builtins(pull))


def job_key(source: HuggingFace | OllamaPull) -> str:
    """Return the key of the job that fetches a model, whether there is one or not."""
    return key_of(job_for(source, ""))
