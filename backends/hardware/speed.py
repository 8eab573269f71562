"""How fast bytes come out of something, and how that is known."""

from __future__ import annotations

from typing import Literal

import msgspec

SpeedSource = Literal["measured", "published", "assumed"]
"""`published` is a maker's figure: a data sheet's, or what follows from the bus width and clock that a driver tells."""


class Speed(msgspec.Struct, frozen=True):
    """Bytes a second; 1 GB/s is 10⁹."""

    bytes_per_s: int
    source: SpeedSource
