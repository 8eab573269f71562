"""Stop strings: they end an answer and are not shown, however the text is cut into pieces."""

from __future__ import annotations

from collections.abc import Sequence

from backends.reasoning import overlap


class StopMatcher:
    """Find stop strings in text that comes in pieces, holding back only what may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """Return what is certainly no part of a stop string; `hit` says that one came, and what follows is dropped."""
        if not self._stops:
            return text
        text = self._held + text
        # The string that is complete first wins, as if the text had come letter by letter.
        found = [(place + len(stop), place) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.hit = True
            self._held = ""
            return text[: min(found)[1]]
        keep = max(overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """Return what was held back."""
        held, self._held = self._held, ""
        return held
