"""How far the engine is, in bytes of the source: whole tensors by its log, and within one by what it has written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from backends.gguf.mixes import Choice
from backends.gguf.tensors import padded

ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT, with which the engine writes


class Progress:
    """The way through the tensors in the engine's `order`. `header_bytes` stand before them in the result.

    `costs` says how long each tensor takes, in any unit, by its name: a byte that becomes four bits takes several times
    as long as one that becomes three.
    """

    def __init__(
        self, order: Sequence[str], choices: Iterable[Choice], header_bytes: int, costs: Mapping[str, float]
    ) -> None:
        by_name = {choice.name: choice for choice in choices}
        found = [by_name[name] for name in order]
        self._order = order
        self._read = list(accumulate((one.before_bytes for one in found), initial=0))
        self._written = list(accumulate((padded(one.after_bytes, ALIGNMENT) for one in found), initial=header_bytes))
        self._spent = list(accumulate((costs.get(name, 0.0) for name in order), initial=0.0))
        self._place = 0

    @property
    def note(self) -> str:
        """Say at which tensor it is, such as "blk.31.ffn_down 412 of 771"."""
        return f"{self._order[self._place].removesuffix('.weight')} {self._place + 1} of {len(self._order)}"

    def begin(self, place: int) -> None:
        """Note that the tensor with this place has begun; what there is none of is not noted."""
        if 0 <= place < len(self._order):
            self._place = place

    def done(self, part_bytes: int) -> int:
        """Return how many bytes of the source are done, where the result has `part_bytes`."""
        whole, to_come = self._read[self._place : self._place + 2]
        return whole + round(self._within(part_bytes) * (to_come - whole))

    def share(self, part_bytes: int) -> float | None:
        """Return which part of the time is spent, None where no costs are known."""
        if not self._spent[-1]:
            return None
        whole, to_come = self._spent[self._place : self._place + 2]
        return (whole + self._within(part_bytes) * (to_come - whole)) / self._spent[-1]

    def _within(self, part_bytes: int) -> float:
        """Return how much of the present tensor is written."""
        begin, end = self._written[self._place : self._place + 2]
        if part_bytes >= end or begin == end:
            return float(part_bytes >= end)
        return max(0.0, (part_bytes - begin) / (end - begin))
