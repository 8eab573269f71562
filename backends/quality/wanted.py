"""What a job of measuring quality is to do: a value of its own, so that who only begins or watches one is light."""

from __future__ import annotations

import msgspec

KIND = "quality"
CONTEXT = 512
"""Tokens of one chunk of the text, as llama-perplexity takes them where nothing else is said."""
DISK_BYTES = 2_000_000_000
"""What the base's probabilities may take of the disk at a time."""


class Compare(msgspec.Struct, frozen=True):
    """Measure the file `model` against the file `base`, both absolute paths; of a split model the first part's.

    `base` may also be a file of log-probabilities that llama-perplexity wrote; then its tokens are the text. `text` is
    a path, "" for the one that is shipped. `chunks` is how many chunks of it count, 0 for all. `keep` leaves the base's
    probabilities on the disk, for other files that are to be measured against it.
    """

    model: str
    base: str
    text: str = ""
    chunks: int = 0
    disk_bytes: int = DISK_BYTES
    keep: bool = False
