"""The kinds of jobs there are, and where the work of each is done."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from backends.base import Cancel
from backends.errors import BackendError
from backends.jobs.report import Report
from backends.shown import printable

Work = Callable[[dict[str, Any], Report, Cancel], str]
"""Does a job: takes its `work`, returns the path of what it made, "" if it has none. Raises BackendError, Cancelled."""

KINDS = {
    "pull": "backends.hub.pull",
    "ollama_pull": "backends.ollama.pulling",
    "quantize": "backends.llama_cpp.quantizing.run",
    "quality": "backends.llama_cpp.quality.run",
}
"""The module of each kind, which has a function `run`."""


def work_of(kind: str) -> Work:
    """Return what does jobs of a kind. Raises BackendError for an unknown one."""
    if kind not in KINDS:
        raise BackendError(
            "There is no such job", f"{printable(kind)} is none of: {', '.join(KINDS)}.", "Start it from this version."
        )
    run: Work = importlib.import_module(KINDS[kind]).run
    return run
