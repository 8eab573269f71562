"""Threads that read the sources: one for each group, so that a call that hangs holds up its own group alone."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence

from backends.energy import suspend
from backends.energy.curve import Curve
from backends.energy.idle import IdleDraw, keep_watts, known_watts
from backends.energy.source import Opened, Opening, Source, Unread
from backends.energy.tally import Phase, Tally

STUCK_S = 0.5
"""A call that takes longer hangs as far as its callers are concerned."""
_AGAIN_S = 5.0
_NOTED_S = 10.0
_USERS_S = 2.0
"""How often a driver is asked whose processes are on a card."""
_WATTS_OVER_S = 0.3
_WATTS_OLD_S = 2.0


class Feed:
    """One source and what became of its reads. Its attributes belong to the recorder's lock, `source` to its thread."""

    def __init__(self, source: Source, now_s: float, slept_s: float, idle_w: float | None) -> None:
        self.source = source
        self.slept_s = slept_s
        self.curve = Curve(now_s)
        self.idle = IdleDraw(self.curve, idle_w, learns=source.measured)
        self.tally = Tally(self.curve)
        self.failing = False
        self.used = not source.card
        """Whether the device was in use, or nobody could tell, at any sample of the account."""
        self.counts = not source.card
        """The same of the last sample."""
        self.doubtful = False
        """The next figure may tell about a time in which the machine slept or the driver hung."""
        self._recent: deque[tuple[float, int]] = deque(maxlen=16)

    def sample(self, at_s: float, delta_uj: int | None) -> None:
        if delta_uj is None:
            self._recent.clear()
        self.curve.sample(at_s, delta_uj)
        self._recent.append((at_s, self.curve.uj))

    def renew(self, at_s: float, phase: Phase | None) -> None:
        """Begin a new account, in whose first moment `phase` is on; the last one keeps its tally."""
        tally = Tally(self.curve)
        if phase is not None:
            mark = self.curve.mark(at_s)
            self.tally.hand_over(mark)
            tally.enter(mark, phase)
        self.tally = tally
        self.used = not self.source.card

    def watts(self, now_s: float) -> float | None:
        """Return the mean watts of the last moments, None if nothing new is known."""
        if not self._recent or now_s - self._recent[-1][0] > _WATTS_OLD_S:
            return None
        end_s, end_uj = self._recent[-1]
        # Counters move in steps, so the stretch must not be too short.
        for begin_s, begin_uj in reversed(self._recent):
            if end_s - begin_s >= _WATTS_OVER_S:
                return (end_uj - begin_uj) / 1e6 / (end_s - begin_s) if end_s - begin_s <= _WATTS_OLD_S else None
        return None


class Lane:
    """One group of sources and the thread that reads it. Attributes without an underscore belong to the lock."""

    def __init__(self, opening: Opening, recorder: Recorder) -> None:
        self.opening = opening
        self.feeds: list[Feed] = []
        self.opened: Opened | None = None
        self.enabled = True
        self.wake = threading.Event()
        self.note = ""
        self._recorder = recorder
        self._calling_since: float | None = None
        self._sampled_s = -math.inf
        self._opened_s = -math.inf
        self._users_s = -math.inf
        self._noted_s = -math.inf

    def stuck(self, now_s: float) -> bool:
        """Say whether a call hangs."""
        since = self._calling_since
        return since is not None and now_s - since > STUCK_S

    def switch(self, enabled: bool) -> None:
        """Have the group read, or let go of; the caller holds the lock."""
        if enabled != self.enabled:
            self.enabled = enabled
            self.feeds, self.opened = [], None
            self.wake.set()

    def notes(self, now_s: float, *, remedies: bool) -> list[str]:
        """Return what is amiss; the caller holds the lock."""
        notes = []
        opened, silent, stuck = self.opened, self.opening.silent, self.stuck(now_s)
        if opened is not None and opened.problem:
            notes.append(f"{opened.problem} {opened.remedy}" if remedies and opened.remedy else opened.problem)
        if stuck and not self.feeds:
            notes.append(f"{silent[0].upper()}{silent[1:]}.")
        for feed in self.feeds:
            if stuck:
                notes.append(f"{feed.source.device}: {silent}.")
            elif feed.counts and feed.failing and feed.source.problem:
                notes.append(f"{feed.source.device}: {feed.source.problem}")
            if feed.counts and feed.source.note:
                notes.append(feed.source.note)
        if self.note:
            notes.append(self.note)
        return notes

    def hides(self, now_s: float) -> bool:
        """Say whether devices may be at work of which this group tells nothing: its driver fails, or hangs."""
        opened = self.opened
        if opened is None:
            return self.stuck(now_s)
        # The processor without its counters is estimated; of a card without its driver nothing is known.
        return bool(opened.problem) and (self.opening.cards or not self.feeds)

    def run(self) -> None:
        while not self._recorder.ended:
            kicked = self.wake.is_set()
            if kicked:  # One that comes just now stays for the next time.
                self.wake.clear()
            if not self.enabled:
                self._close()
            else:
                if self.opened is None:
                    self.open()
                # The first time, it says where a counter stands before there is anything to measure.
                self.sample(kicked=kicked)
            self.wake.wait(self._timeout())
        self._close()

    def open(self) -> None:
        """Look for sources. What the opening raises becomes a problem: a meter must not end its host."""
        recorder = self._recorder
        self._opened_s = self._calling_since = recorder.clock()
        try:
            opened = self.opening.open()
        except Exception as error:  # noqa: BLE001 - the binding may raise anything
            opened = Opened(problem=f"{self.opening.name} cannot be read: {type(error).__name__}: {error}")
        self._calling_since = None
        known = [known_watts(source) for source in opened.sources]
        slept_s = recorder.slept()
        with recorder.changed:
            now = recorder.clock()
            if not self.enabled:
                return
            self.opened = opened
            self.feeds = [
                Feed(source, now, slept_s, watts) for source, watts in zip(opened.sources, known, strict=True)
            ]
            for feed in self.feeds:
                recorder.adopt(feed)
            recorder.changed.notify_all()

    def sample(self, *, kicked: bool = True) -> None:
        """Read every source once."""
        recorder = self._recorder
        now = self._sampled_s = recorder.clock()
        opened = self.opened
        if not self.feeds and opened is not None and opened.again and now - self._opened_s >= _AGAIN_S:
            self.open()
        ask_users = self.opening.cards and (kicked or now - self._users_s >= _USERS_S)
        if ask_users:
            self._users_s = now
        for feed in self.feeds:
            self._sample(feed, ask_users=ask_users)
        if now - self._noted_s >= _NOTED_S:
            self._noted_s = now
            self.note = self.opening.note()

    def _sample(self, feed: Feed, *, ask_users: bool) -> None:
        recorder, source = self._recorder, feed.source
        used: bool | None = None
        delta_uj: int | None = None
        failing = True
        at_s = self._calling_since = recorder.clock()
        try:
            if ask_users:
                used = source.in_use(recorder.pids()) is not False
                at_s = self._calling_since = recorder.clock()
            delta_uj = source.read(at_s)
            failing = False
        except Unread:
            pass
        except Exception as error:  # noqa: BLE001 - the binding may raise anything
            source.problem = f"It cannot be read: {type(error).__name__}."
        self._calling_since = None
        slept_s, now = recorder.slept(), recorder.clock()
        with recorder.changed:
            feed.failing = failing
            if used is not None:
                feed.counts = used
                feed.used = feed.used or used
            feed.doubtful = feed.doubtful or suspend.grew(feed.slept_s, slept_s)
            feed.slept_s = slept_s
            if not failing:
                # When a call that hung has read the device, nobody knows.
                slow = now - at_s > STUCK_S
                feed.sample(now if slow else at_s, None if slow or feed.doubtful else delta_uj)
                feed.doubtful = slow
            watts = feed.idle.learn()
            recorder.changed.notify_all()
        if watts is not None:
            keep_watts(source, watts)

    def _timeout(self) -> float | None:
        """Return the seconds until the next sample, None to sleep until woken."""
        until = self._recorder.until_s
        opened = self.opened
        again = opened is not None and opened.again
        if not self.enabled or self._sampled_s >= until or not (self.feeds or again):
            return None
        interval = min((feed.source.interval_s for feed in self.feeds), default=_AGAIN_S)
        # The last sample has to be at the end, for the marks that wait for it.
        due = min(self._sampled_s + interval, max(until, self._sampled_s))
        return max(0.0, due - self._recorder.clock())

    def _close(self) -> None:
        self._calling_since = self._recorder.clock()
        self.opening.close()
        self._calling_since = None


class Recorder:
    """All lanes, and what they share: `changed` guards it all and is notified after each sample.

    `until_s` is the time up to which samples are wanted; nothing is read after that, and no thread wakes.
    """

    def __init__(
        self,
        openings: Sequence[Opening],
        adopt: Callable[[Feed], None],
        pids: Callable[[], Collection[int] | None],
        clock: Callable[[], float],
        slept: Callable[[], float],
    ) -> None:
        self.changed = threading.Condition(threading.Lock())
        self.until_s = -math.inf
        self.ended = False
        self.adopt, self.pids, self.clock, self.slept = adopt, pids, clock, slept
        self.lanes = [Lane(opening, self) for opening in openings]
        self._started = False

    def start(self) -> None:
        if not self._started:
            self._started = True
            for lane in self.lanes:
                threading.Thread(target=lane.run, name=f"energy-{lane.opening.name}", daemon=True).start()

    def stop(self) -> None:
        """End after the reads that are under way. Does not wait for them."""
        self.ended = True
        self.kick()

    def kick(self) -> None:
        """Have everything sampled now."""
        for lane in self.lanes:
            lane.wake.set()
