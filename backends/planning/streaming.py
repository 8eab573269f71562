"""How much of a model that main memory does not hold can stay there, and what is read again for each token."""

from __future__ import annotations

import msgspec

WINDOW_BYTES = 512 * 1024**2
"""What is read ahead and in use, at most: two halves of the largest layer of a 32B, and the next two."""

RESERVE_BYTES = 512 * 1024**2
"""Stays free for everybody else, at most; under it, held weights are given back."""

_WINDOW_SHARE, _RESERVE_SHARE = 1 / 8, 1 / 8


class Streaming(msgspec.Struct, frozen=True):
    """Weights in main memory's part, in bytes: `held` stay there, each token reads `streamed` from the disk."""

    held: int
    streamed: int


def streaming(read_bytes: int, unmapped_bytes: int, free_bytes: int, most_bytes: int | None = None) -> Streaming:
    """Share `read_bytes`, the weights that a token reads out of main memory, between memory and disk.

    `unmapped_bytes` no file can hold: KV cache and buffers. `free_bytes` is what main memory has left. `most_bytes`
    limits what is held; None does not.
    """
    room = max(0, free_bytes - unmapped_bytes - window_bytes(read_bytes) - reserve_bytes(free_bytes))
    held = min(read_bytes, room if most_bytes is None else min(room, most_bytes))
    return Streaming(held, read_bytes - held)


def window_bytes(read_bytes: int) -> int:
    """Return the room for what passes through memory of `read_bytes`: an eighth of a small model is two layers."""
    return min(WINDOW_BYTES, round(_WINDOW_SHARE * read_bytes))


def reserve_bytes(free_bytes: int) -> int:
    """Return what stays free of `free_bytes`: in a small control group there are few others."""
    return min(RESERVE_BYTES, round(_RESERVE_SHARE * free_bytes))
