"""Whether a model has to stream, decided before it is loaded, and its stream once it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from backends.errors import Problem
from backends.gguf.shape import Shape
from backends.llama_cpp.options import LlamaCppOptions
from backends.llama_cpp.streaming import hold
from backends.llama_cpp.streaming.ranges import Ranges, ranges_of, read_headers
from backends.llama_cpp.streaming.stream import Stream
from backends.planning.streaming import Streaming, streaming

_GIB = 1024**3

Free = Callable[[], int | None]
"""Returns the bytes of main memory that this process can have, None where that is unknown."""


class Wanted(msgspec.Struct, frozen=True):
    """A model that main memory does not hold: what each token `read`s there, and what of it can stay.

    Without `ranges` nothing is done about it: the kernel's page cache decides, and nothing stays for sure.
    """

    read: int
    parts: Streaming
    ranges: Ranges | None = None
    read_ahead: bool = True
    most: int | None = None

    def notes(self, stream: Stream | None) -> list[str]:
        """Return what the user should know, as sentences."""
        parts = stream.now if stream is not None else Streaming(0, self.read)
        return [
            f"Main memory holds {parts.held / 1e9:.1f} of the {self.read / 1e9:.1f} GB of weights that the CPU reads "
            f"for each token; {parts.streamed / 1e9:.1f} GB come from the disk each time. They stay as they are in the "
            "file, so that nothing is swapped."
        ]


def wanted(
    path: Path,
    shape: Shape,
    options: LlamaCppOptions,
    blocks: int,
    back: tuple[str, ...],
    *,
    output_here: bool,
    unmapped: int,
    free: int,
    read: int,
) -> Wanted:
    """Return how a model streams that main memory with `free` bytes does not hold.

    `blocks` are computed by the CPU, and of the next one the matrices `back`; `unmapped` are the bytes that no file
    holds, `read` those that a token reads of the CPU's part by the plan.
    """
    most = None if options.hold_gib == "auto" else int(options.hold_gib * _GIB)
    ahead = options.read_ahead == "auto"
    nothing = Wanted(read, Streaming(0, read))
    # Which experts a token needs is known too late to read them ahead, and no two tokens need the same.
    if shape.experts or not hold.possible() or (not ahead and most == 0):
        return nothing
    try:
        parts, headers = read_headers(path)
    except Problem:
        return nothing
    ranges = ranges_of(parts, headers, blocks, back, output_here=output_here)
    if not ranges.units:
        return nothing
    share = streaming(ranges.read_bytes, unmapped, free, most)
    return Wanted(ranges.read_bytes, share, ranges, ahead, most)


def opened(lib: Any, model: Wanted, free: Free) -> Stream | None:
    """Follow a model that is loaded by now, None where that cannot be done."""
    if model.ranges is None:
        return None

    def room() -> Streaming:
        """The engine's buffers are in use by now, so they are no longer free; what is held of a file still is."""
        return streaming(model.read, 0, free() or 0, model.most)

    try:
        return Stream(lib, model.ranges, model.parts, room, read_ahead=model.read_ahead, holds=model.most != 0)
    except (OSError, AttributeError):
        return None
