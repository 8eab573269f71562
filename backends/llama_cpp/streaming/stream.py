"""Follows the engine through a model that main memory does not hold, and keeps the disk at work one window ahead.

The engine tells where it is through its evaluation callback, at the beginning of each half layer that the CPU computes;
a thread does the rest. The engine's arithmetic is never touched: whatever fails here, the model runs from its map.

Which layers go to the card changes nothing here: it holds as many bytes of small layers as of large ones.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from backends.llama_cpp import binding
from backends.llama_cpp.streaming.ahead import Ahead, piece_bytes
from backends.llama_cpp.streaming.hold import Cache
from backends.llama_cpp.streaming.maps import maps_of
from backends.llama_cpp.streaming.progress import read_bytes
from backends.llama_cpp.streaming.ranges import Ranges, share, total
from backends.planning.streaming import Streaming, window_bytes

LOOK_EVERY_S = 2.0
TAKE_AGAIN_S = 120.0
"""What was given back because memory was short is held again after so long without any shortage."""
SLACK_BYTES = 128 * 1024**2
"""A smaller change of what there is room for changes nothing."""

# A pass that reads less than this part of the CPU's weights found them in memory; so many in a row need no help.
_QUIET_SHARE, _QUIET_PASSES = 0.01, 3
# A pass that reads more than what streams by this much has missed what should be held: others took its memory.
_EXCESS_SHARE, _EXCESS_BYTES = 0.02, 16 * 1024**2

Room = Callable[[], Streaming]
"""Returns how the weights can be shared between memory and disk now; what is held already counts as free."""


class Stream:
    """One loaded model that streams. `callback` goes into the engine's context, which must not outlive this object.

    `close` has to come before the engine gives up its map. `now` and `done` may be read from any thread.
    Unless it `holds` something, the kernel decides what stays in memory.
    """

    def __init__(
        self, lib: Any, ranges: Ranges, wanted: Streaming, room: Room, *, read_ahead: bool = True, holds: bool = True
    ) -> None:
        """Follow a model that is loaded. Raises OSError or AttributeError where that cannot be done."""
        self._name = binding.node_name()
        files: list[int] = []
        try:
            files += [os.open(part, os.O_RDONLY | os.O_CLOEXEC) for part in ranges.parts]
        except OSError:
            for file in files:
                os.close(file)
            raise
        self._cache = Cache(files, [maps_of([part]) for part in ranges.parts])
        self._ranges = ranges
        self._ahead = (
            Ahead(self._cache.fetch, piece_bytes(files), window_bytes(ranges.read_bytes)) if read_ahead else None
        )
        self._room = room
        self._places = {unit.begins.encode(): place for place, unit in enumerate(ranges.units)}
        self._first = next(iter(self._places.values()), 0)
        self._at = -1
        self._given_back = 0
        # After a load, what should be held is in memory only by chance.
        self._fetch_all = True
        self._idle_passes = 0
        self._quiet = False
        self._read = read_bytes()
        self._looked = self._short = time.monotonic()
        self._closed = False
        self._wake = threading.Event()
        # What is mapped where nobody sees it cannot be given back.
        self.holds = holds and self._cache.mapped
        self.now = Streaming(0, ranges.read_bytes)
        self._hold(wanted.held if self.holds else 0)
        self.callback = lib.ggml_backend_sched_eval_callback(self._node)
        if self.holds:
            # Loading has read all of the file: what no token reads, and what streams, would only stand in the way.
            self._cache.give_back(ranges.idle)
            for unit in self._ranges.units:
                self._cache.give_back(unit.streamed)
        self._thread = threading.Thread(target=self._follow, name="stream", daemon=True)
        self._thread.start()

    def done(self) -> float:
        """Return how much of the first pass through the model is over, 0…1."""
        return min(1.0, (self._at + 1) / len(self._places))

    @property
    def quiet(self) -> bool:
        """Whether nothing is read any more, since memory holds everything after all."""
        return self._quiet

    def close(self) -> None:
        """End the thread and let go of the files. Called again it does nothing."""
        self._closed = True
        self._wake.set()
        # Without an end: afterwards the addresses of the map may belong to somebody else.
        self._thread.join()
        self._cache.close()

    def _node(self, tensor: int, ask: bool, _data: object) -> bool:
        """Take the engine's question whether it should stop after computing a node, and its word that it has.

        False for the second would end the computation in its middle.
        """
        try:
            place = self._places.get(self._name(tensor))
            if ask:
                return place is not None and (place == self._first or not self._quiet)
            if place is not None:
                self._at += 1 + (place - self._at - 1) % len(self._places)
                self._wake.set()
        except Exception:  # noqa: BLE001 - nothing may unwind through the engine's C++
            return not ask
        return True

    def _follow(self) -> None:
        try:
            while not self._closed:
                self._wake.wait()
                self._wake.clear()
                at = self._at
                if at >= 0 and not self._closed:
                    self._step(at)
        except Exception as error:  # noqa: BLE001 - the engine goes on from its map
            self._quiet = True
            if sys.stderr is not None:
                sys.stderr.write(f"Reading ahead has ended: {type(error).__name__}: {error}\n")

    def _step(self, at: int) -> None:
        units, count = self._ranges.units, len(self._places)
        if self.holds:
            for place in range(max(self._given_back, at - count), at):
                self._cache.give_back(units[place % count].streamed)
        if at // count != self._given_back // count:
            self._begin_pass()
        self._given_back = at
        if self._ahead is not None and not self._quiet:
            self._ahead.follow(self._ranges.units, at, self._wake.is_set, held_too=self._fetch_all)

    def _begin_pass(self) -> None:
        """Draw conclusions from the pass that is over: how much it read, and what there is room for now."""
        now = read_bytes()
        read, self._read = (None if now is None or self._read is None else now - self._read), now
        whole = self._ranges.read_bytes
        self._fetch_all = read is not None and read > self.now.streamed + _EXCESS_SHARE * whole + _EXCESS_BYTES
        self._idle_passes = self._idle_passes + 1 if read is not None and read < _QUIET_SHARE * whole else 0
        self._quiet = self._idle_passes >= _QUIET_PASSES
        if self.holds and time.monotonic() - self._looked >= LOOK_EVERY_S:
            self._look()

    def _look(self) -> None:
        """Hold less as soon as memory is short, and more when it has not been for a while."""
        self._looked = now = time.monotonic()
        room = self._room().held
        if room <= self.now.held + SLACK_BYTES:
            self._short = now
        if room < self.now.held - SLACK_BYTES or now - self._short >= TAKE_AGAIN_S:
            self._short = now
            self._hold(room)
            self._fetch_all = True

    def _hold(self, held: int) -> None:
        self._ranges = share(self._ranges, self._ranges.read_bytes - held)
        streamed = sum(total(unit.streamed) for unit in self._ranges.units)
        self.now = Streaming(self._ranges.read_bytes - streamed, streamed)
