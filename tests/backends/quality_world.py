"""Small models that are measured in no time, and measuring them in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from backends import paths
from backends.base import Cancel
from backends.gguf.files import read_shape
from backends.jobs.report import Report
from backends.llama_cpp.quality import known, logprobs, run
from backends.quality.figures import Quality
from backends.quality.wanted import CONTEXT, Compare
from tests.backends.tiny_models import write_bpe_model

ROUNDING = logprobs.WINDOW / 65535


class Tiny:
    """`tiny("a")` is a model of one layer of zeros: every token is as likely as any other.

    `tiny("a", noise=0.1)` is one of random weights, the same for all; `noise` is how much was added to them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, noise: float | None = None, **given: Any) -> Path:
        path = self._folder / f"{name}.gguf"
        write_bpe_model(path, f"template of {name}", **given)
        if noise is not None:
            data = path.read_bytes()
            begin = len(data.rstrip(b"\0")) // 32 * 32 + 64  # behind the header: the weights are zeros
            count = (len(data) - begin) // 4
            rng = np.random.default_rng(1)
            # From the end on, so that a longer header changes nothing but the first.
            weights = rng.normal(0, 0.4, count)[::-1] + noise * rng.normal(0, 0.4, count)[::-1]
            path.write_bytes(data[:begin] + weights.astype("<f4").tobytes() + data[begin + 4 * count :])
        return path


def compare(wanted: Compare, cancel: Cancel | None = None) -> Quality:
    """Do the job in this process, and return what it has kept."""
    cancel = cancel or Cancel()
    folder = paths.private(paths.state() / "a job")
    with Report(folder, cancel) as report:
        assert run.run(msgspec.to_builtins(wanted), report, cancel) == ""
    found = known.matching(wanted)
    assert found is not None
    return found


def chunk_bytes(model: Path) -> int:
    """What the rows of one chunk take."""
    return logprobs.chunk_bytes(CONTEXT, read_shape(model).vocabulary)


def left() -> list[str]:
    """What a measurement has left in its folder."""
    return sorted(path.name for path in (paths.cache() / "quality").glob("*"))
