"""What a job of quantising is to do."""

from __future__ import annotations

import msgspec

from backends.gguf.mixes import Mix

KIND = "quantize"


class Quantize(msgspec.Struct, frozen=True):
    """Make the file `target` out of `source`, a path; of a split model the first part's.

    `importance` is the path of an importance matrix, "" for none. `threads` 0 is all cores that may be used.
    `requantize` allows a source that is quantised already.
    """

    source: str
    target: str
    mix: Mix
    importance: str = ""
    threads: int = 0
    requantize: bool = False
