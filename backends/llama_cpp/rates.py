"""What an answer shows about the speed of the memory that its model lies in, kept for the next plan."""

from __future__ import annotations

from backends.events import Done
from backends.llama_cpp.context import setup_of
from backends.llama_cpp.loading import OpenModel
from backends.planning import reached
from backends.planning.speed import traffic


def note_rate(model: OpenModel, done: Done) -> None:
    """Take note of how fast this answer's tokens were read, at the depth of its middle."""
    speed, tokens, filled = done.timings.tokens_per_second, done.usage.output_tokens, done.usage.context_tokens
    if not speed or not tokens or filled is None:
        return
    # Who binds the engine to fewer threads or cores than it would take teaches nothing about the memory.
    if model.options.threads != "auto" or model.options.cpu_affinity:
        return
    read = traffic(
        model.shape,
        setup_of(model.options),
        model.engine_layers,
        max(0, filled - tokens // 2),
        from_disk=model.streamed_bytes > 0,
        held=model.held,
    )
    reached.note(read, model.gpu.description if model.gpu is not None else "", tokens, speed)
