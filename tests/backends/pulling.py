"""Fetching from the hub of a test within its own process: what it takes, and what is left of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends.base import Cancel
from backends.hub import patience
from backends.hub.address import HubFile
from backends.hub.pull import run
from backends.hub.wanted import Pull
from backends.jobs import files
from backends.jobs.files import read_progress
from backends.jobs.job import Progress
from backends.jobs.report import Report
from tests.backends.fake_hub import FakeHub, go_online

ONE = HubFile("me", "some", "one.gguf")
SPLIT = HubFile("me", "some", "Q8/big-00002-of-00003.gguf")
PARTS = tuple(f"Q8/big-0000{number}-of-00003.gguf" for number in (1, 2, 3))


class Puller:
    """Fetches from `hub` into `folder`, and keeps what was told meanwhile. `cancel` ends it."""

    def __init__(self, hub: FakeHub, folder: Path, told: Path) -> None:
        self.hub, self.folder, self.told = hub, folder, told
        self.cancel = Cancel()
        self.stages: list[str] = []
        self.notes: list[str] = []

    def publish(self, name: str = "one.gguf", size: int = 300_000, content: bytes | None = None) -> bytes:
        content = content if content is not None else b"GGUF" + os.urandom(size - 4)
        self.hub.publish(name, content, self.told)
        return content

    def pull(self, file: HubFile = ONE, **pull: Any) -> Path:
        """Fetch; return the path of the model. Raises what the job's work raises."""
        files.replace(self.told / files.PROGRESS, Progress())
        told = self

        class Listening(Report):
            def stage(self, stage: str, note: str = "") -> None:
                told.stages.append(stage)
                told.notes.append(note)
                super().stage(stage, note)

        work = msgspec.to_builtins(Pull(file, str(self.folder), **{"patience_s": 1.0, **pull}))
        with Listening(self.told, self.cancel) as report:
            result = run(work, report, self.cancel)
            report.end("done", result=result)
        return Path(result)

    @property
    def progress(self) -> Progress:
        return read_progress(self.told)

    @property
    def names(self) -> list[str]:
        """The names of all files in the folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def fetched(self, content: bytes, name: str = "one.gguf") -> bool:
        """Say whether the file is there with this content, and nothing unfinished beside it."""
        return (self.folder / name).read_bytes() == content and not any(".part" in one for one in self.names)


def make_puller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Puller]:
    """Yield a puller with a hub of its own; waits are short."""
    monkeypatch.setattr(patience, "FIRST_S", 0.3)
    told = tmp_path / "told"
    told.mkdir()
    with FakeHub() as hub:
        go_online(monkeypatch, hub.root)
        yield Puller(hub, tmp_path / "models", told)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
