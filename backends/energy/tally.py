"""What one device used in one account, by phase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from backends.energy.curve import Curve, Mark, ns
from backends.energy.idle import IdleDraw
from backends.energy.source import Source
from backends.events import DeviceEnergy

Phase = Literal["load", "settle", "prefill", "decode"]
_BEHIND_S = 2.0
"""A device that was read within this time is a little behind, and nothing is missing."""


class Totals(msgspec.Struct, frozen=True):
    """Microjoules by phase, and nanoseconds of all phases and of what is unknown of them."""

    uj: dict[Phase, int]
    lasted_ns: int
    missing_ns: int


@dataclass(slots=True)
class _Span:
    phase: Phase
    begin: Mark
    end: Mark | None = None


class Tally:
    """Spans of one device. `unread_ns` is time of the account that was over before the device was found."""

    def __init__(self, curve: Curve, unread_ns: int = 0) -> None:
        self._curve = curve
        self._uj: dict[Phase, int] = {}
        self._lasted_ns = self._missing_ns = unread_ns
        self._spans: list[_Span] = []
        self._handed: Mark | None = None

    def enter(self, mark: Mark, phase: Phase | None) -> None:
        """End the phase that is on at `mark`, and begin another (None: none) there."""
        if self._spans and self._spans[-1].end is None:
            self._spans[-1].end = mark
        if phase is not None:
            self._spans.append(_Span(phase, mark))
        self._fold()

    def waits(self) -> bool:
        """Say whether a reading is still to come for a span that has ended."""
        self._fold()
        return any(span.end is not None for span in self._spans)

    def totals(self, now_s: float, *, bridge: bool) -> Totals:
        """Return what is known now. With `bridge` nothing is missing of what the next sample is going to tell."""
        self._fold()
        uj, lasted_ns, missing_ns = dict(self._uj), self._lasted_ns, self._missing_ns
        bridge = bridge and self._curve.age_s(now_s) <= _BEHIND_S
        for span in self._spans:
            end = span.end or Mark(max(ns(now_s), span.begin.at_ns))
            first = self._curve.provisional(span.begin, bridge=bridge)
            last = self._curve.provisional(end, bridge=bridge)
            uj[span.phase] = uj.get(span.phase, 0) + last.uj - first.uj
            lasted_ns += end.at_ns - span.begin.at_ns
            missing_ns += last.missing_ns - first.missing_ns
        return Totals(uj, lasted_ns, missing_ns)

    def hand_over(self, mark: Mark) -> None:
        """End at a mark where another account begins."""
        self._handed = mark
        self.enter(mark, None)

    def abandon(self) -> None:
        """Wait no longer for any reading."""
        for span in self._spans:
            for mark in (span.begin, span.end):
                if mark is not None and mark is not self._handed:
                    self._curve.forget(mark)

    def _fold(self) -> None:
        """Add up the spans whose readings have come."""
        left = []
        for span in self._spans:
            if span.end is None or span.begin.reading is None or span.end.reading is None:
                left.append(span)
                continue
            first, last = span.begin.reading, span.end.reading
            self._uj[span.phase] = self._uj.get(span.phase, 0) + last.uj - first.uj
            self._lasted_ns += span.end.at_ns - span.begin.at_ns
            self._missing_ns += last.missing_ns - first.missing_ns
        self._spans = left


def device_energy(source: Source, idle: IdleDraw, totals: Totals) -> DeviceEnergy:
    """Return the totals as joules, with the share that the idle device would have drawn in the time that is known."""
    idle_j = None
    if idle.watts is not None:
        known_s = (totals.lasted_ns - totals.missing_ns) / 1e9
        idle_j = round(min(idle.watts * known_s, sum(totals.uj.values()) / 1e6), 6)
    return DeviceEnergy(
        source.device,
        source.label,
        source.measured,
        **{f"{phase}_j": uj / 1e6 for phase, uj in totals.uj.items()},
        idle_j=idle_j,
        missing_s=round(totals.missing_ns / 1e9, 6),
    )
