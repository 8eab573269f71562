"""Fetches as their jobs tell of them, without the work: folders under the lock of this process, or of nobody."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from backends.errors import ErrorInfo
from backends.jobs import files
from backends.jobs.job import JobSpec, JobView, Progress, key_of
from presets.catalog import find, load_catalog
from presets.pulling import job_for
from presets.sources import HuggingFace, parse

GB, MB = 10**9, 10**6
MIDWAY = Progress(
    "running",
    "fetching",
    done_bytes=3_100 * MB,
    total_bytes=6_700 * MB,
    bytes_per_s=42e6,
    left_s=85.4,
    started_at=1_772_485_400.0,
    updated_at=1_772_485_500.0,
)
GATED = ErrorInfo(
    "unauthorized",
    "bartowski/DeepSeek-R1-Distill-Qwen-14B-GGUF asks for consent",
    "Access to this model is restricted.",
    "Accept its terms at https://huggingface.co/bartowski/DeepSeek-R1-Distill-Qwen-14B-GGUF, then enter a token: hf "
    "auth login.",
)
NO_NETWORK = ErrorInfo(
    "server_unreachable",
    "huggingface.co cannot be found",
    "Name or service not known.",
    "Is this machine online? HTTPS_PROXY names a proxy, HF_ENDPOINT a mirror of Hugging Face.",
)


def source_of(preset: str) -> HuggingFace:
    entry = find(load_catalog(), preset)
    source = parse(entry.preset.backends[entry.preset.backend]["source"])
    assert isinstance(source, HuggingFace)
    return source


def spec_of(preset: str) -> JobSpec:
    return job_for(source_of(preset), find(load_catalog(), preset).preset.title)


def progress(**changes: Any) -> Progress:
    return msgspec.structs.replace(MIDWAY, **changes)


def view(told: Progress = MIDWAY, title: str = "14B Q3_K_S + offload", *, stopping: bool = False) -> JobView:
    """A fetch as it looks from outside."""
    spec = JobSpec("pull", f"/models/{title}", title)
    return JobView(key_of(spec), Path("/jobs"), 1, spec, told, told.state, stopping)


class Job:
    """A job's folder. While `running`, this process holds its lock."""

    def __init__(self, spec: JobSpec, told: Progress) -> None:
        self.key = key_of(spec)
        self.folder = files.jobs() / self.key
        self._lock = files.acquire(self.folder)
        files.replace(self.folder / files.SPEC, spec)
        self.tell(told)

    def tell(self, told: Progress) -> None:
        """Let it say so; one that has ended lets go of its lock."""
        files.replace(self.folder / files.PROGRESS, told)
        if told.state != "running":
            self.let_go()

    def let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def asked_to_end(self) -> bool:
        return (self.folder / files.STOP).exists()
