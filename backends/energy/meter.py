"""The energy meter of a host: says what each answer used, by device and phase."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.base import Place
from backends.energy import suspend
from backends.energy.curve import ns
from backends.energy.idle import LINGER_S
from backends.energy.openings import openings_of
from backends.energy.recorder import Feed, Lane, Recorder
from backends.energy.source import Opening
from backends.energy.tally import Phase, Tally, device_energy
from backends.events import Energy

_WORTH_SAYING_S = 0.1
_MISSING_SHARE = 0.02
"""What may be missing of an account's time before its energy is called incomplete."""


@dataclass(slots=True)
class _Part:
    """One device's part in an account."""

    lane: Lane
    feed: Feed
    tally: Tally
    used: bool


class Meter:
    """Measures the devices that answers are computed on. Thread-safe; no call waits for a driver.

    `place` says whose work it is: this process's, a server's on this machine, or nobody's here. `root` is where proc
    and sys are found; `openings`, `clock` (monotonic seconds) and `slept` (seconds asleep) are for tests.
    """

    def __init__(
        self,
        place: Place = "process",
        *,
        root: Path = Path("/"),
        openings: Sequence[Opening] | None = None,
        clock: Callable[[], float] = time.monotonic,
        slept: Callable[[], float] = suspend.slept_s,
    ) -> None:
        self._place: Place = place
        self._cards_used: bool | None = None
        self._clock = clock
        self._phase: Phase | None = None
        self._since_s = clock()
        self._lasted_ns = 0
        if openings is None:
            openings = openings_of(root, lambda: self._place)
        self._recorder = Recorder(openings, self._adopt, self._pids, clock, slept)
        self._changed = self._recorder.changed
        self._choose()

    def start(self) -> None:
        """Look for devices, in threads of their own."""
        self._recorder.start()

    def stop(self) -> None:
        """End the threads. Does not wait for them."""
        self._recorder.stop()

    def place(self, place: Place) -> None:
        """Say whose work the answers are, once that is known."""
        with self._changed:
            self._place = place
            self._choose()

    def cards_used(self, used: bool | None) -> None:
        """Say whether the engine uses graphics cards. False leaves them out; else the driver says which are in use.

        A card counts if it was in use, or nobody could tell, at any sample of an account.
        """
        with self._changed:
            self._cards_used = used
            self._choose()

    def enter(self, phase: Phase | None) -> None:
        """Say what energy is for from now on; None: for nothing. Never blocks."""
        with self._changed:
            if phase == self._phase:
                return
            now = self._clock()
            was, self._phase = self._phase, phase
            if was is not None:
                self._lasted_ns += ns(now) - ns(self._since_s)
            self._since_s = now
            for _, feed in self._feeds():
                feed.tally.enter(feed.curve.mark(now), phase)
                if phase is None:
                    feed.idle.rest(now)
                else:
                    feed.idle.busy(now)
            self._plan(now)
        self._recorder.kick()

    def refresh(self) -> None:
        """Have the devices read now, so that `so_far` soon knows of it. Never blocks."""
        self._recorder.kick()

    def so_far(self) -> Energy | None:
        """Return the energy of the account that is open, as of the last samples. Never waits."""
        with self._changed:
            now = self._clock()
            parts = [_Part(lane, feed, feed.tally, feed.used) for lane, feed in self._feeds()]
            return self._energy(parts, now, over=False)

    def read(self, wait_s: float = 0.05) -> Energy | None:
        """Return the energy of the open account up to now. Waits at most `wait_s` seconds for samples of now."""
        began = self._clock()
        self._recorder.kick()
        deadline = time.monotonic() + wait_s
        with self._changed:
            while self._lags(began) and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
        return self.so_far()

    def take(self, wait_s: float = 0.05) -> Energy | None:
        """Close the account and return it: all that was used since the last call. None if nothing can be known.

        Waits at most `wait_s` seconds for the last samples; what is not there then is missing.
        """
        with self._changed:
            now = self._clock()
            phase = self._phase
            parts = []
            for lane, feed in self._feeds():
                parts.append(_Part(lane, feed, feed.tally, feed.used))
                feed.renew(now, phase)
            self._lasted_ns, self._since_s = 0, now
        if phase is not None:
            self._recorder.kick()
        deadline = time.monotonic() + wait_s
        with self._changed:
            while self._waits(parts) and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            for part in parts:
                # The sample that was waited for may be the first that saw the card in use.
                part.used = part.used or part.feed.used
            energy = self._energy(parts, now, over=True)
            for part in parts:
                part.tally.abandon()
            return energy

    def watts(self) -> float | None:
        """Return what the devices that count draw now, None if that is unknown for one of them."""
        with self._changed:
            now = self._clock()
            counted = [(lane, feed) for lane, feed in self._feeds() if feed.counts]
            found = [None if feed.failing or lane.stuck(now) else feed.watts(now) for lane, feed in counted]
        known = [watts for watts in found if watts is not None]
        return sum(known) if known and len(known) == len(found) else None

    def notes(self) -> tuple[str, ...]:
        """Return what is amiss now, and how to mend it."""
        with self._changed:
            return self._notes(self._clock(), remedies=True)

    def _feeds(self) -> list[tuple[Lane, Feed]]:
        return [(lane, feed) for lane in self._recorder.lanes for feed in lane.feeds]

    def _choose(self) -> None:
        """Read those groups that count, and let go of the others."""
        here = self._place != "elsewhere"
        for lane in self._recorder.lanes:
            lane.switch(here and (self._cards_used is not False or not lane.opening.cards))

    def _pids(self) -> Collection[int] | None:
        """Return the processes whose cards count; those of a server are unknown, so everybody's do."""
        return None if self._place == "machine" else (os.getpid(),)

    def _plan(self, now_s: float) -> None:
        """Say up to when devices are to be read."""
        self._recorder.until_s = now_s + LINGER_S if self._phase is None else math.inf

    def _adopt(self, feed: Feed) -> None:
        """Take in a device that was found: what the account has lasted up to now is missing of it."""
        now = self._clock()
        running_ns = 0 if self._phase is None else ns(now) - ns(self._since_s)
        feed.tally = Tally(feed.curve, self._lasted_ns + running_ns)
        if self._phase is not None:
            feed.tally.enter(feed.curve.mark(now), self._phase)

    def _lags(self, moment_s: float) -> bool:
        """Say whether a sample that is still to come will tell about the time before a moment."""
        now = self._clock()
        return any(
            lane.opened is None or any(not feed.failing and feed.curve.age_s(moment_s) > 0 for feed in lane.feeds)
            for lane in self._recorder.lanes
            if lane.enabled and not lane.stuck(now)
        )

    def _waits(self, parts: Sequence[_Part]) -> bool:
        """Say whether something is still to come that is worth waiting for."""
        now = self._clock()
        lanes = [lane for lane in self._recorder.lanes if lane.enabled and not lane.stuck(now)]
        return any(lane.opened is None for lane in lanes) or any(
            part.lane in lanes and not part.feed.failing and part.tally.waits() for part in parts
        )

    def _energy(self, parts: Sequence[_Part], now_s: float, *, over: bool) -> Energy | None:
        devices, notes = [], list(self._notes(now_s, remedies=False))
        incomplete = any(lane.hides(now_s) for lane in self._recorder.lanes if lane.enabled)
        total_uj = 0
        for part in parts:
            if not part.used or not part.lane.enabled:
                continue
            silent = part.feed.failing or part.lane.stuck(now_s)
            totals = part.tally.totals(now_s, bridge=not over and not silent)
            device = device_energy(part.feed.source, part.feed.idle, totals)
            devices.append(device)
            total_uj += sum(totals.uj.values())
            if device.missing_s >= _WORTH_SAYING_S:
                incomplete = incomplete or totals.missing_ns > _MISSING_SHARE * totals.lasted_ns
                notes.append(f"{device.device}: of {device.missing_s:.1f} s nothing is known.")
        if not devices:
            return None
        measured = [device.measured for device in devices]
        source = "measured" if all(measured) else "partly estimated" if any(measured) else "estimated"
        idle = [device.idle_j for device in devices if device.idle_j is not None]
        idle_joules = round(sum(idle), 6) if len(idle) == len(devices) else None
        return Energy(total_uj / 1e6, source, idle_joules, tuple(devices), tuple(notes), incomplete)

    def _notes(self, now_s: float, *, remedies: bool) -> tuple[str, ...]:
        notes = []
        for lane in self._recorder.lanes:
            if lane.enabled:
                notes += lane.notes(now_s, remedies=remedies)
        return tuple(notes)
