"""Microjoules of the stretch between two reads: from a counter by difference, from power by the trapezoidal rule."""

from __future__ import annotations

from backends.energy.curve import ns

BRIDGED_S = 2.0
"""Power is not guessed over a longer gap between two samples."""
IMPOSSIBLE_W = 5_000
"""No processor and no card draws as much: a counter that says so was reset."""
_SLACK_S = 0.2
"""Counters are brought up to date now and then only, so a short stretch may hold the energy of a longer one."""


class Counter:
    """Differences of an energy counter in microjoules; one with a `range_uj` goes on at 0 after that."""

    def __init__(self, range_uj: int | None = None) -> None:
        # The kernel's range is the largest value of a counter of 32 bits, one unit below where it goes round:
        # get_max_energy_counter in drivers/powercap/intel_rapl_common.c.
        self._round_uj = None if range_uj is None else range_uj + round(range_uj / 0xFFFFFFFF)
        self._last: tuple[int, int] | None = None

    def step(self, at_s: float, value_uj: int) -> int | None:
        """Return the microjoules since the previous value; None for the first, and after a reset."""
        last, self._last = self._last, (ns(at_s), value_uj)
        if last is None:
            return None
        seconds = (self._last[0] - last[0]) / 1e9
        if self._round_uj is not None and seconds * IMPOSSIBLE_W * 1e6 > self._round_uj:
            # It may have gone round more than once.
            return None
        delta = value_uj - last[1]
        if delta < 0:
            if self._round_uj is None:
                return None
            delta += self._round_uj
        return delta if 0 <= delta <= IMPOSSIBLE_W * 1e6 * (seconds + _SLACK_S) else None


class Power:
    """The integral of power samples in microwatts."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self._rest = 0

    def step(self, at_s: float, power_uw: int) -> int | None:
        """Return the microjoules since the previous sample; None for the first, and over a gap of more than 2 s."""
        last, self._last = self._last, (ns(at_s), power_uw)
        if last is None or self._last[0] - last[0] > ns(BRIDGED_S):
            self._rest = 0
            return None
        # µW · ns = 10⁻⁹ µJ; half of the sum of both powers.
        whole, self._rest = divmod((last[1] + power_uw) * (self._last[0] - last[0]) + self._rest, 2_000_000_000)
        return whole
