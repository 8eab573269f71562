"""What a model did on this machine the last times that it ran: kept by its host, shown beside what a plan predicts."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import msgspec

from backends import remembered
from backends.hardware.cpu import cpu_name

KEPT = 8
"""Answers that count: older ones were perhaps given by another version, or on a machine with less to do."""
LEAST_TOKENS = 16
"""A shorter answer says little about the speed."""
_KIND = "runs"


class Run(msgspec.Struct, frozen=True):
    """One answer: its decode speed, its tokens, and how full the context was at its end."""

    tokens_per_second: float
    output_tokens: int
    context_tokens: int | None = None


class Measured(msgspec.Struct, frozen=True):
    """What was measured of one model with one backend and one set of options. None means that it could not be.

    `runs` are the last answers, oldest first. `gpu_layers` of `layers` blocks were on the card at the last of them.
    `vram_bytes` is what the engine's process, or a server's model, held on the card, `ram_bytes` what its process held
    of main memory, mapped files among it. `device` is what computed the layers.
    """

    runs: tuple[Run, ...] = ()
    layers: int | None = None
    gpu_layers: int | None = None
    context: int | None = None
    vram_bytes: int | None = None
    ram_bytes: int | None = None
    load_s: float | None = None
    device: str = ""

    @property
    def tokens_per_second(self) -> float | None:
        """Return the median of the last answers."""
        return statistics.median(run.tokens_per_second for run in self.runs) if self.runs else None


def recall(backend: str, model: str, options: dict[str, Any]) -> Measured | None:
    """Return what was measured of a model, None if nothing was."""
    found = remembered.read(_KIND, _key(backend, model, options))
    try:
        return msgspec.convert(found, Measured)
    except msgspec.ValidationError:
        return None


def record(backend: str, model: str, options: dict[str, Any], now: Measured) -> None:
    """Keep what was just measured: `now` with the runs that are new."""
    before = recall(backend, model, options)
    runs = (*(before.runs if before is not None else ()), *now.runs)[-KEPT:]
    kept = msgspec.structs.replace(now, runs=runs, load_s=now.load_s or (before.load_s if before else None))
    remembered.write(_KIND, _key(backend, model, options), kept)


def _key(backend: str, model: str, options: dict[str, Any]) -> str:
    described = msgspec.json.encode(options, order="deterministic").decode()
    # A home folder may be shared by several machines.
    return remembered.key_of_model(Path(model), backend, described, cpu_name())
