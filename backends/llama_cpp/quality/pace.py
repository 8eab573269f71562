"""How far a measurement is, and how long it still takes: from what a chunk took of each model."""

from __future__ import annotations

import time

from backends.jobs.report import Report


class Pace:
    """Tells a job's report. Bytes are those of the base's rows: each is written once and read once.

    `ratio` is the model's size by the base's: what a chunk of one says about one of the other before it was run.
    `based` says that the base need not run at all.
    """

    def __init__(self, report: Report, chunks: int, chunk_bytes: int, ratio: float, *, based: bool) -> None:
        self._report = report
        self._chunks = chunks
        self._bytes = chunk_bytes
        self._ratio = ratio
        self._passes = 1 if based else 2
        self._done = {"base": chunks if based else 0, "comparing": 0}
        self._took: dict[str, float] = {}
        self._begun = (0.0, 0)

    def resume(self, done: int) -> None:
        """Tell how many chunks an earlier measurement has done."""
        if self._passes == 2:
            self._done["base"] = done
        self._done["comparing"] = done
        self._report.total(self._passes * self._chunks * self._bytes)
        self._report.jump(self._at())

    def loading(self, name: str, fraction: float | None) -> None:
        """Tell that a model is being loaded for a pass."""
        which = "the base" if name == "base" else "the model"
        self._report.stage(name, f"Loading {which}" + (f", {fraction:.0%}." if fraction is not None else "."))

    def begin(self, name: str, done: int) -> None:
        """Tell that a pass runs its first chunk, when so many chunks are done of its model."""
        self._done[name] = done
        self._begun = (time.monotonic(), done)
        self._tell(name)

    def based(self, done: int) -> None:
        self._count("base", done)

    def compared(self, done: int) -> None:
        self._count("comparing", done)

    def left_s(self) -> float | None:
        """Return how long it still takes, None before the first chunk. Loading is left out."""
        base, model = self._took.get("base"), self._took.get("comparing")
        if model is None:
            if base is None:
                return None
            model = base * self._ratio
        if base is None:
            base = model / self._ratio if self._ratio else 0.0
        return base * (self._chunks - self._done["base"]) + model * (self._chunks - self._done["comparing"])

    def _count(self, name: str, done: int) -> None:
        began, before = self._begun
        self._done[name] = done
        self._took[name] = (time.monotonic() - began) / max(1, done - before)
        self._report.at(self._at())
        self._tell(name)

    def _tell(self, name: str) -> None:
        which = "Base" if name == "base" else "Comparing"
        done = self._done[name]
        self._report.stage(name, f"{which}: chunk {min(done + 1, self._chunks)} of {self._chunks}.")
        self._report.expect(self.left_s())

    def _at(self) -> int:
        done = self._done["comparing"] + (self._done["base"] if self._passes == 2 else 0)
        return done * self._bytes
