"""From a source to the job that fetches it. Beginning and watching it is `backends.jobs.launch`'s."""

from __future__ import annotations

from pathlib import Path

import msgspec

from backends.hub.address import HubFile
from backends.hub.wanted import KIND, Pull
from backends.jobs.job import JobSpec, key_of
from presets.sources import HuggingFace, fetched_to


def place_of(source: HuggingFace) -> Path:
    """Return where a model will be, once it is fetched: its file, or its folder."""
    return fetched_to(source) / source.file


def job_for(source: HuggingFace, title: str, *, force: bool = False) -> JobSpec:
    """Return the job that fetches a model. However it is called, of one model there is one."""
    file = HubFile(source.owner, source.repo, source.file, source.revision)
    pull = Pull(file, str(fetched_to(source)), source.sha256, force)
    return JobSpec(KIND, str(place_of(source)), title, msgspec.to_builtins(pull))


def job_key(source: HuggingFace) -> str:
    """Return the key of the job that fetches a model, whether there is one or not."""
    return key_of(job_for(source, ""))
