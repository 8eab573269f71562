"""What the host keeps of an answer for the plan: its speed, and what the model takes."""

from __future__ import annotations

import os

from backends import runs
from backends.base import Loaded
from backends.events import Done
from backends.hardware.gpu import read_gpus
from backends.hardware.memory import process_rss
from backends.hardware.patience import Question, Unanswered
from backends.host.wire import HostSpec

_DRIVER_S = 0.5


def keep(spec: HostSpec, loaded: Loaded, done: Done) -> None:
    """Keep what this answer shows, if it was long enough to show anything. Never raises."""
    speed, tokens = done.timings.tokens_per_second, done.usage.output_tokens
    if not speed or tokens is None or tokens < runs.LEAST_TOKENS:
        return
    here = loaded.place == "process"
    measured = runs.Measured(
        runs=(runs.Run(speed, tokens, done.usage.context_tokens),),
        layers=loaded.layers,
        gpu_layers=loaded.gpu_layers,
        context=loaded.context,
        vram_bytes=_on_the_cards(loaded) if here else loaded.vram_bytes,
        ram_bytes=process_rss(os.getpid()) if here else None,
        load_s=loaded.load_s,
        device=loaded.device,
    )
    runs.record(spec.backend, spec.model, spec.options, measured)


def _on_the_cards(loaded: Loaded) -> int | None:
    """Return what this process holds on all cards, None where no driver tells, or not in time."""
    if loaded.gpu_layers == 0 and not loaded.output_on_gpu:
        # An engine may still hold a context there, but to ask would wake a card that sleeps.
        return None
    try:
        reading = Question("own memory on the cards", lambda: read_gpus([os.getpid()])).answer(_DRIVER_S)
    except Unanswered:
        return None
    held = [gpu.ours_bytes for gpu in reading.gpus]
    known = [size for size in held if size is not None]
    return sum(known) if known and len(known) == len(held) else None
