"""What a measurement gives. Every field is in SI units and keeps its name: `bench --json` prints these structs."""

from __future__ import annotations

from typing import Literal

import msgspec

from backends.errors import BackendError

Unit = Literal["ratio", "s", "bytes", "tokens"]


class CannotMeasure(BackendError):
    """There is nothing to measure here, or the measurement was disturbed."""

    kind = "cannot_measure"


class Spread(msgspec.Struct, frozen=True):
    """The median of `samples` measurements, and an interval that covers the true median.

    `coverage` is the interval's probability, from order statistics (binomial, without assuming a distribution); with
    five samples even the whole range has no more than 0.94. None where there is one sample.
    """

    median: float
    low: float
    high: float
    samples: int
    coverage: float | None = None


class DepthFigures(msgspec.Struct, frozen=True):
    """Speeds with `depth_tokens` tokens in the KV cache already; None where the context is too small.

    `first_token_s` is the time from the question to the first token with a prompt of this length and nothing cached.
    """

    depth_tokens: int
    first_token_s: float
    prefill_tokens_per_second: Spread
    decode_tokens_per_second: Spread


class Comparison(msgspec.Struct, frozen=True):
    """One figure beside its goal: at least or at most `goal`. `value` None says that it could not be measured."""

    title: str
    unit: Unit
    value: Spread | None
    goal: float
    better: Literal["more", "less"]
    detail: str = ""

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value.median >= self.goal if self.better == "more" else self.value.median <= self.goal


class Memory(msgspec.Struct, frozen=True):
    """Memory of the host's process at its peak. `engine_bytes` is what the engine says it allocated of it.

    `own_bytes` is the rest: interpreter, vocabulary, the engine's code. `device_bytes` lies on a GPU. None is unknown.
    """

    peak_bytes: int | None
    engine_bytes: int
    own_bytes: int | None
    device_bytes: int
    buffers_bytes: dict[str, int]


class Report(msgspec.Struct, frozen=True):
    """All figures of one model. `against` is empty unless it was asked for."""

    model: str
    engine: str
    device: str
    context_tokens: int | None
    layers: int | None
    gpu_layers: int | None
    model_bytes: int | None
    load_s: float | None
    first_token_s: float
    peak_bytes: int | None
    memory: Memory
    depths: tuple[DepthFigures, ...]
    against: dict[str, Comparison] = {}
    own_cpu_by_token: tuple[tuple[int, float], ...] = ()
    """Our own CPU seconds per token (host and client) at each so many tokens of one long answer."""
    notes: tuple[str, ...] = ()


class Progress(msgspec.Struct, frozen=True):
    """Which stage a measurement is in, and how far: `done` of `total` steps."""

    stage: str
    done: int = 0
    total: int = 0
