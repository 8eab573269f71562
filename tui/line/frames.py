"""What is drawn, on its way to a terminal far away: in few bytes, and no more of it at once than is seen soon.

A key that is held down draws faster than a slow line carries. Frames that would only queue up are held here, and
become one, the newest picture, once the terminal says how far it has come.
"""

from __future__ import annotations

from typing import Final

from tui.line.pacing import QUESTION, Pacing
from tui.line.thinning import SYNC, Thinner

SMALL_BYTES: Final = 512
"""What is typed costs less, and is never held."""
HELD_CHARACTERS: Final = 256 * 1024


class Frames:
    """The frames of one screen; `erases` is what `Thinner` asks of the terminal."""

    def __init__(self, pacing: Pacing, *, erases: bool) -> None:
        self._pacing = pacing
        self._thinner = Thinner(erases=erases)
        self._held: list[str] = []

    @property
    def held(self) -> bool:
        """Whether something waits for `released`."""
        return bool(self._held)

    def forget(self) -> None:
        """Take it that anything may be on the terminal."""
        self._thinner.forget()

    def drop(self) -> None:
        """Drop what is held, and forget: all is drawn anew for another size."""
        self._held.clear()
        self.forget()

    def put(self, frame: str) -> str:
        """Return what has to be written now, "" if that is nothing, or waits."""
        if not self._pacing.full():
            return self._written([*self._held, frame])
        if not self._held:
            before = self._thinner.picture()
            thinned = self._thinner.thinned(frame)
            if len(thinned) <= SMALL_BYTES:
                return self._asking(thinned)
            self._thinner.restore(before)
        self._held.append(frame)
        return self.released() if sum(map(len, self._held)) > HELD_CHARACTERS else ""

    def released(self) -> str:
        """Return what has to be written for all that is held."""
        return self._written(self._held)

    def _written(self, frames: list[str]) -> str:
        self._held = []
        if len(frames) < 2:
            return self._asking(self._thinner.thinned("".join(frames)))
        start, stop = (mark if any(mark in frame for frame in frames) else "" for mark in SYNC)
        bodies = [frame.removeprefix(SYNC[0]).removesuffix(SYNC[1]) for frame in frames]
        return self._asking(self._thinner.thinned("".join([start, *bodies, stop])))

    def _asking(self, thinned: str) -> str:
        return thinned + QUESTION if thinned and self._pacing.ask(len(thinned)) else thinned
