"""What an answer shows about the speed of the memory that its model lies in, or of its disk, kept for the next plan."""

from __future__ import annotations

import time

import msgspec

from backends.events import Done
from backends.hardware import bandwidth
from backends.hardware.disk import disk_under
from backends.hardware.process_io import counts
from backends.llama_cpp.context import setup_of
from backends.llama_cpp.loading import OpenModel
from backends.planning import reached
from backends.planning.speed import Rates, Traffic, looked_up, traffic, used

_LEAST_READ = 0.9
"""So much of what was to be read has to have come from the disk. Else memory gave some of it, and the disk rested."""
_MOST_COMPUTED, _MOST_BESIDE = 0.5, 0.8
"""So much of the time computing may take for the disk to be what is waited for: before it, and beside it."""


class Reading(msgspec.Struct, frozen=True):
    """A moment, and the bytes that this process has had from disks until then."""

    at_s: float
    read_bytes: int


def reading(model: OpenModel) -> Reading | None:
    """Return where decoding stands now, None for a model that does not stream or where the kernel does not count."""
    if not model.streamed_bytes:
        return None
    size = counts().read_bytes
    return None if size is None else Reading(time.monotonic(), size)


def note_rate(model: OpenModel, done: Done, began: Reading | None = None) -> None:
    """Take note of how fast this answer's tokens were read, at the depth of its middle.

    `began` is the reading behind its first token.
    """
    speed, tokens, filled = done.timings.tokens_per_second, done.usage.output_tokens, done.usage.context_tokens
    if not speed or not tokens or filled is None:
        return
    read = traffic(
        model.shape,
        setup_of(model.options),
        model.engine_layers,
        max(0, filled - tokens // 2),
        streamed=model.streamed_bytes,
        held=model.held,
    )
    card = model.gpu.description if model.gpu is not None else ""
    # What the CPU computes more slowly than it reads teaches nothing about what it reads from.
    if read.memory and looked_up(model.shape):
        return
    if model.streamed_bytes:
        if began is not None:
            _note_disk(model, read, card, tokens - 1, began)
    # Who binds the engine to fewer threads or cores than it would take teaches nothing about the memory.
    elif model.options.threads == "auto" and not model.options.cpu_affinity:
        reached.note(read, card, tokens, speed)


def _note_disk(model: OpenModel, read: Traffic, card: str, tokens: int, began: Reading) -> None:
    """Take note of the disk, if it was what the tokens waited for.

    What the card computed is not its time; nor is the CPU's, unless the disk read ahead meanwhile.
    """
    now = reading(model)
    if now is None or tokens < 1:
        return
    size, seconds = now.read_bytes - began.read_bytes, now.at_s - began.at_s
    rates = Rates(
        memory=bandwidth.recall(),
        card_reached=reached.recall(card) if card else None,
        memory_reached=reached.recall(reached.MEMORY),
    )
    on_card, in_memory = (
        tokens * part / rate if rate else 0.0
        for part, rate in zip((read.card, read.memory), used(rates)[:2], strict=True)
    )
    waited = seconds - on_card
    ahead = model.options.read_ahead != "off"
    most = _MOST_BESIDE if ahead else _MOST_COMPUTED
    if size < _LEAST_READ * tokens * read.disk or in_memory > most * waited:
        return
    reached.note_disk(disk_under(model.path.parent), size, waited if ahead else waited - in_memory)
