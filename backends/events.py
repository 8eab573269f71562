"""The one stream of typed events that every backend produces.

A chat yields `PromptProgress`*, then `Reasoning` and `Text` in any order, and ends with exactly one `Done`.
Loading reports `LoadProgress`. A failure is raised as a `BackendError`, never yielded.
Every event is also one wire message and one spool record, so a field, once released, keeps its meaning.
"""

from __future__ import annotations

from typing import Literal

import msgspec

LoadStage = Literal["reading", "offloading", "warming"]
DoneReason = Literal["stop", "length", "context", "stopped"]


class LoadProgress(msgspec.Struct, frozen=True, tag="load"):
    """How far a model is loaded. `fraction` is 0…1, None where the engine does not say."""

    stage: LoadStage
    fraction: float | None = None
    note: str = ""


class PromptProgress(msgspec.Struct, frozen=True, tag="prompt"):
    """How much of the prompt is in the KV cache: `done` of `total` tokens, of which `cached` needed no work.

    `note` tells the user what made it slower than expected, such as a kept state that was damaged.
    """

    done: int
    total: int
    cached: int = 0
    note: str = ""


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """A piece of the model's thinking, and how many generated tokens it stands for (0 for text that we put in)."""

    text: str
    tokens: int = 1


class Text(msgspec.Struct, frozen=True, tag="text"):
    """A piece of the answer, and how many generated tokens it stands for."""

    text: str
    tokens: int = 1


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer. None means that the engine did not say.

    `prompt_tokens` includes `cached_tokens`; `output_tokens` includes `reasoning_tokens`, and leaves out the token that
    ends an answer and what was put in to close a thought.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def context_tokens(self) -> int | None:
        """How much of the context the prompt and its answer filled together."""
        return None if self.prompt_tokens is None else self.prompt_tokens + (self.output_tokens or 0)


class Timings(msgspec.Struct, frozen=True):
    """Seconds of one answer, measured by the engine or around it. None means unavailable.

    `tokens_per_second` is the decode speed: generated tokens after the first over `decode_s`.
    """

    load_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    tokens_per_second: float | None = None


class DeviceEnergy(msgspec.Struct, frozen=True):
    """Joules of one device over one answer, by what they were for, to the microjoule.

    `source` is how they are known, such as "NVML energy counter"; `measured` is False for an estimate. `settle_j` went
    into getting ready for the question. Of all of them, `idle_j` would have been drawn by the idle device in the same
    time; None where its idle draw is not known yet. Of `missing_s` seconds nothing is known, and nothing is counted.
    """

    device: str
    source: str
    measured: bool
    load_j: float = 0.0
    settle_j: float = 0.0
    prefill_j: float = 0.0
    decode_j: float = 0.0
    idle_j: float | None = None
    missing_s: float = 0.0

    @property
    def joules(self) -> float:
        return self.load_j + self.settle_j + self.prefill_j + self.decode_j


class Energy(msgspec.Struct, frozen=True):
    """Joules of one answer, on the devices' side of the power supply, and how they are known.

    `source` is "measured", "estimated", or "partly estimated" where devices differ. `idle_joules` is the share that
    idle devices would have drawn too, None where it is unknown for one of them. `incomplete` says that a device that
    may have worked, or a stretch of time, is missing: it was more than this. `notes` say what is missing.
    """

    joules: float
    source: str
    idle_joules: float | None = None
    devices: tuple[DeviceEnergy, ...] = ()
    notes: tuple[str, ...] = ()
    incomplete: bool = False


class Io(msgspec.Struct, frozen=True):
    """What the engine's process moved since an answer began, as the kernel counts it.

    `read_bytes` came from a disk, `page_faults` are those that waited for one. `written_bytes` went to a disk, of which
    `own_written_bytes` are our own: spool, kept states, logs. The rest must be zero. `swapped_bytes` of the process
    are in swap now. None means that the kernel does not say.
    """

    read_bytes: int | None = None
    page_faults: int | None = None
    written_bytes: int | None = None
    own_written_bytes: int = 0
    swapped_bytes: int | None = None

    @property
    def foreign_written_bytes(self) -> int | None:
        """Bytes written to a disk that are not our own files: swapping, or an engine that writes."""
        return None if self.written_bytes is None else max(0, self.written_bytes - self.own_written_bytes)


class Metered(msgspec.Struct, frozen=True, tag="metered"):
    """The energy and the seconds of an answer up to now, told about once a second, and the watts drawn at the moment.

    It is the last word on them where an answer fails or is cut off. `io` is None for an engine in no process of ours.
    """

    energy: Energy | None
    watts: float | None = None
    timings: Timings | None = None
    io: Io | None = None


ASSUMED_TARIFF = "assumed tariff"
"""The `Cost.source` of electricity while the user has set no tariff."""


class Cost(msgspec.Struct, frozen=True):
    """Money for one answer, in `currency` (an ISO 4217 code), and where its price is from.

    `source` is "preset" for a price per token, "tariff" for electricity at the user's tariff, "assumed tariff" for
    electricity at ours. `electricity` and `hardware` are the parts of `amount` of a machine of one's own, `assumptions`
    what of it nobody has set: "tariff", "power supply", "hardware".
    """

    amount: float
    currency: str
    source: str
    electricity: float | None = None
    hardware: float | None = None
    assumptions: tuple[str, ...] = ()


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The end of an answer.

    `stop`: the model ended it. `length`: the token limit. `context`: the context is full. `stopped`: by the user.
    The host adds `io`, where the engine is in its process.
    """

    reason: DoneReason
    usage: Usage = Usage()
    timings: Timings = Timings()
    energy: Energy | None = None
    cost: Cost | None = None
    io: Io | None = None


ChatEvent = PromptProgress | Reasoning | Text | Done
