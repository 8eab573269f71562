"""How long this machine has slept, so that a night with the lid closed is not taken for a night of work."""

from __future__ import annotations

import time

_LIKELY_S = 0.2
"""Two clocks cannot be read at once: a smaller difference is no sleep."""


def slept_s() -> float:
    """Return the seconds that the machine has slept since its start; 0 where the kernel does not count them.

    CLOCK_BOOTTIME goes on while it sleeps and CLOCK_MONOTONIC does not (man 2 clock_gettime); setting the wall clock
    moves neither.
    """
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    if boot is None:
        return 0.0
    slept = 0.0
    for _ in range(3):
        before, booted = time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(boot)
        after = time.clock_gettime(time.CLOCK_MONOTONIC)
        slept = booted - before
        if after - before < _LIKELY_S / 4:
            break
    return slept


def grew(before_s: float, after_s: float) -> bool:
    """Say whether the machine slept between two answers of `slept_s`."""
    return after_s - before_s > _LIKELY_S
