"""Which devices tell their energy on this machine, and what would let more of them: for `doctor`."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgspec

from backends.energy.openings import openings_of
from backends.energy.source import Opened, Opening

PATIENCE_S = 3.0


class Found(msgspec.Struct, frozen=True):
    """One device, or a group of devices that cannot be read: `problem` says why, `remedy` how to mend it.

    `label` is how its energy is known, "" if it is not; `measured` is False for an estimate.
    """

    device: str
    label: str = ""
    measured: bool = False
    problem: str = ""
    remedy: str = ""


def survey(root: Path = Path("/"), patience_s: float = PATIENCE_S) -> list[Found]:
    """Look for every device. Waits at most `patience_s` seconds for drivers that hang."""
    openings = openings_of(root, lambda: "process")
    results: dict[str, list[Found]] = {}
    threads = [threading.Thread(target=_look, args=(one, results), daemon=True) for one in openings]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    silent = {one.name: [Found(one.name, problem=f"{one.silent[:1].upper()}{one.silent[1:]}.")] for one in openings}
    return [found for one in openings for found in results.get(one.name, silent[one.name])]


def _look(opening: Opening, results: dict[str, list[Found]]) -> None:
    try:
        opened = opening.open()
    except Exception as error:  # noqa: BLE001 - the binding may raise anything
        opened = Opened(problem=f"{type(error).__name__}: {error}")
    found = [Found(one.device, one.label, one.measured) for one in opened.sources]
    if opened.problem:
        found.append(Found(opening.name, problem=opened.problem, remedy=opened.remedy))
    results[opening.name] = found
    opening.close()
