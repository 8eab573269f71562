"""Moments that the tests of figures look at: everything measured, nothing known, an answer on its way."""

from __future__ import annotations

from typing import Any

import msgspec

from backends.base import Loaded, Sampling
from backends.events import (
    Cost,
    DeviceEnergy,
    Done,
    Energy,
    Metered,
    PromptProgress,
    Reasoning,
    Text,
    Timings,
    Usage,
)
from backends.hardware.gpu import Gpu, GpuReading
from backends.host.wire import HostSpec, Record, Status
from tui.chat.answer import Answer, fold
from tui.chat.bill import Rates, own_cost
from tui.chat.course import Point
from tui.chat.machine import Machine
from tui.chat.seen import Seen
from tui.chat.storing.stored import StoredMessage
from tui.chat.tally import Tally
from tui.chat.target import Target

GB = 1_000_000_000
CARD = Gpu(
    0, "NVIDIA GeForce RTX 3070", 8 * GB, 6_700_000_000, 1_300_000_000, 5_600_000_000, "nvidia 550.54",
    0.97, 187.0, 220.0, 71.0,
)  # fmt: skip
SILENT_CARD = Gpu(0, "NVIDIA GeForce RTX 3070", 8 * GB, 6_700_000_000, 1_300_000_000, None, "nvidia 550.54")
LOADED = Loaded(8192, layers=48, gpu_layers=48, output_on_gpu=True, device="CUDA0")
USAGE = Usage(812, 0, 812, 1200)
TIMINGS = Timings(0.5, 1.2, 50.0, 23.6)
GPU_J = DeviceEnergy("GPU 0 NVIDIA GeForce RTX 3070", "NVML energy counter", True, 240.0, 12.5, 200.0, 2300.0, 610.0)
CPU_J = DeviceEnergy("CPU package 0", "RAPL", True, 90.0, 2.0, 40.0, 360.0, 300.0)
CPU_GUESS = DeviceEnergy("CPU", "CPU time at 65 W", False, 90.0, 2.0, 40.0, 360.0, None, 1.5)
MEASURED = Energy(3244.5, "measured", 910.0, (GPU_J, CPU_J))
GUESSED = Energy(
    3244.5,
    "partly estimated",
    None,
    (GPU_J, CPU_GUESS),
    ("Only root may read the processor's energy counters (RAPL).",),
)
TARIFF = Rates(price_per_kwh=0.32, currency="EUR", rest_watts=40.0, hardware_price=1200.0)
TARGET = Target(
    "14b-q3_k_s-offload",
    "14B Q3_K_S + offload",
    HostSpec("llama_cpp", "model.gguf", {"context": 8192}, "14B Q3_K_S + offload", "build"),
    Sampling(),
    "auto",
)
PRICE = {"input_per_million": 0.28, "output_per_million": 0.42, "currency": "USD"}
POINTS = tuple(
    Point(
        second,
        None if 100 <= second < 130 else 6_000_000_000 + 10_000_000 * (second % 70),
        20 + second % 9 * 0.5 if second % 150 > 20 else None,
        60.0 + second % 150 if second > 40 else None,
        90.0 + second % 150 if second % 150 > 20 else None,
    )
    for second in range(300)
)


def row(energy: Energy | None = MEASURED, cost: Cost | None = None, **fields: Any) -> StoredMessage:
    """Return a finished answer's row."""
    values: dict[str, Any] = {
        "id": "a", "conversation": "c", "parent": None, "role": "assistant", "text": "x", "reasoning": "",
        "state": "done", "reason": "stop", "preset": "14b-q3_k_s-offload", "backend": "llama_cpp", "model": "m",
        "created_at": 0.0, "finished_at": 1.0, "usage": USAGE, "timings": TIMINGS, "thought_s": None, "error": None,
    }  # fmt: skip
    return StoredMessage(**values | fields, energy=energy, cost=cost)


def growing(*, thinking: bool = False, metered: Metered | None = None) -> Answer:
    """Return an answer after 3 seconds of generating at 20 tokens a second."""
    events: list[tuple[float, Any]] = [(0.5, PromptProgress(900, 900, 800))]
    kind = Reasoning if thinking else Text
    events += [(1 + number / 20, kind("word ")) for number in range(61)]
    if metered is not None:
        events.append((4.0, metered))
    return fold(Record("a", number, at_s, event) for number, (at_s, event) in enumerate(events))


def everything(rates: Rates = TARIFF, energy: Energy = MEASURED) -> Seen:
    """Return a moment at which every figure is known."""
    return Seen(
        TARGET,
        Status("idle", LOADED),
        None,
        row(energy, own_cost(energy, TIMINGS, rates)),
        Machine(GpuReading((CARD,)), 1_000_000_000, 2_900_000_000, 120_000_000.0),
        rates,
        Tally(9, {"EUR": 12_000_000}, 111_600_000_000),
        "",
        False,
    )


def nothing() -> Seen:
    """Return a moment at which nothing is known."""
    return Seen(machine=Machine(GpuReading(problem="No graphics card found.")))


def answering(**changes: Any) -> Seen:
    """Return a moment in the middle of an answer."""
    live = growing(metered=Metered(MEASURED, 210.0))
    return msgspec.structs.replace(everything(), **{"answer": live, "last": row(None), **changes})


def done(cost: Cost | None = None, energy: Energy | None = None) -> Done:
    return Done("stop", USAGE, TIMINGS, energy, cost)
