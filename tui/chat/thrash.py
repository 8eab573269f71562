"""Main memory that no longer holds what it was planned to hold, seen while an answer runs, as one sentence for it.

Two things are seen. Weights that lie in a file are dropped and read again, at each token: slow, and harmless. Memory
that lies in no file is swapped out: slow, and it writes to the disk.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from backends.base import Loaded
from backends.hardware.memory import short_limit
from backends.hardware.memory_holders import MemoryHolder, memory_holders
from backends.hardware.process_io import stalled, swapped_out
from tui.chat.answer import Answer, Moved
from tui.units import memory, speed
from tui.words import _

READ_AGAIN = 0.2
"""The part of what main memory should give a token that may come from the disk before it is worth a word."""
LEAST_TOKENS = 5
SWAPPED_BYTES = 32 * 1024**2
"""So much more of the engine's process in swap than before is no chance."""
SWAP_BYTES_PER_S, SWAP_S, STALLED = 10e6, 3.0, 0.1
"""A machine that swaps out faster than this for so long, while it waits for memory this part of the time."""
LOOK_S = 1.0
NAMED, LEAST_NAMED_BYTES = 3, 500_000_000

Kind = Literal["reads", "swap", "machine"]


class Strain(msgspec.Struct, frozen=True):
    """What was seen.

    "reads": each token reads `bytes_per_token` from the disk, of which `planned_bytes` were expected, at
    `tokens_per_second`. "swap": `swapped_bytes` of the process went to swap. "machine": the machine swaps out, and a
    server's model may be what goes.
    """

    kind: Kind
    bytes_per_token: int = 0
    planned_bytes: int = 0
    tokens_per_second: float = 0.0
    swapped_bytes: int = 0


class Short(msgspec.Struct, frozen=True):
    """Why memory is short: a control group with a limit, or `holders` who have the machine's, the largest first."""

    limit_bytes: int | None = None
    holders: tuple[MemoryHolder, ...] = ()


SHORT = Short()


class Pressure(msgspec.Struct, frozen=True):
    """What the machine had swapped out at a time, and which part of the last seconds it stood still for memory."""

    at_s: float
    swapped_out_bytes: int | None
    stalled: float | None


def pressure() -> Pressure:
    """Read it now."""
    pages = swapped_out()
    size = None if pages is None else pages * os.sysconf("SC_PAGE_SIZE")
    return Pressure(time.monotonic(), size, stalled())


class Watch:
    """Watches one answer, and tells once. `read` reads the machine, for a model that is in no process of ours."""

    def __init__(self, read: Callable[[], Pressure] = pressure) -> None:
        self._read = read
        self._pressures: deque[Pressure] = deque(maxlen=8)
        self._looked_s = -LOOK_S
        self._told = False

    def look(self, answer: Answer, loaded: Loaded | None) -> Strain | None:
        """Say what is to be told after the answer's latest record: the first time that anything is, else None."""
        if self._told or loaded is None or answer.finished or not answer.tokens:
            return None
        if answer.last_s - self._looked_s < LOOK_S:
            return None
        self._looked_s = answer.last_s
        found = None
        if loaded.place == "process":
            found = swapping(answer.moved) or reading_again(answer.moved, loaded)
        elif loaded.place == "machine":
            self._pressures.append(self._read())
            found = machine_swaps(self._pressures)
        self._told = found is not None
        return found


def reading_again(moved: Sequence[Moved], loaded: Loaded) -> Strain | None:
    """Say whether the last tokens read from the disk what loading expected main memory to hold.

    Each stretch of at least one token must have done so, and all of them be `LEAST_TOKENS`: what was dropped while
    nobody asked anything is read once, and that is all.
    """
    reads, planned = loaded.memory_read_bytes, loaded.streamed_bytes or 0
    if not reads:
        return None
    # The first record after each token: what is read from there on is for the next one.
    marks: list[Moved] = []
    for one in moved:
        if one.io.read_bytes is not None and one.tokens > (marks[-1].tokens if marks else 0):
            marks.append(one)
    for after, before in itertools.pairwise(reversed(marks)):
        if _read_between(before, after) / (after.tokens - before.tokens) - planned <= READ_AGAIN * reads:
            return None
        tokens, seconds = marks[-1].tokens - before.tokens, marks[-1].at_s - before.at_s
        if tokens >= LEAST_TOKENS:
            each = round(_read_between(before, marks[-1]) / tokens)
            return Strain("reads", each, planned, tokens / seconds if seconds > 0 else 0.0)
    return None


def swapping(moved: Sequence[Moved]) -> Strain | None:
    """Say whether the engine's process is being swapped out since the answer's first token."""
    known = [one.io.swapped_bytes for one in moved if one.tokens and one.io.swapped_bytes is not None]
    more = known[-1] - min(known) if known else 0
    return Strain("swap", swapped_bytes=more) if more >= SWAPPED_BYTES else None


def machine_swaps(pressures: Sequence[Pressure]) -> Strain | None:
    """Say whether the whole machine swaps out all the time."""
    known = [one for one in pressures if one.swapped_out_bytes is not None]
    if len(known) < 2 or known[-1].at_s - known[0].at_s < SWAP_S:
        return None
    if known[-1].stalled is not None and known[-1].stalled < STALLED:
        return None
    if not all(_out(one, two) > SWAP_BYTES_PER_S * (two.at_s - one.at_s) for one, two in itertools.pairwise(known)):
        return None
    return Strain("machine", swapped_bytes=_out(known[0], known[-1]))


def words(strain: Strain, short: Short = SHORT) -> str:
    """Say what was seen, and who holds the memory, or which limit leaves it to nobody."""
    match strain.kind:
        case "reads" if strain.planned_bytes:
            told = _(
                "Main memory holds less of the model than it did: each token reads {size} from the disk instead of "
                "{planned}, {speed} tokens/s."
            )
        case "reads":
            told = _("Main memory no longer holds the model: each token reads {size} from the disk, {speed} tokens/s.")
        case "swap":
            told = _("The model is being swapped out, {swapped} by now: that is slow, and it writes to the disk.")
        case "machine":
            told = _("This machine swaps while it answers, {swapped} by now: that is slow, and it writes to the disk.")
    said = told.format(
        size=memory(strain.bytes_per_token),
        planned=memory(strain.planned_bytes),
        speed=speed(strain.tokens_per_second),
        swapped=memory(strain.swapped_bytes),
    )
    if short.limit_bytes is not None:
        limited = _("Its control group lets it have {size} of main memory in all.")
        return f"{said} {limited.format(size=memory(short.limit_bytes))}"
    large = [one for one in short.holders if one.held_bytes >= LEAST_NAMED_BYTES][:NAMED]
    if not large:
        return said
    first, *more = large
    most = _("{name} holds {size}").format(name=first.name, size=memory(first.held_bytes))
    return f"{said} {', '.join([most, *(f'{one.name} {memory(one.held_bytes)}' for one in more)])}."


def why(strain: Strain, pid: int | None) -> Short:
    """Find out why memory is short for the engine's process `pid`. Not to be called in an event loop."""
    # A server's model is in no group of that process.
    limit = short_limit(pid) if pid is not None and strain.kind != "machine" else None
    ours = {os.getpid(), *(() if pid is None else (pid,))}
    return Short(limit) if limit is not None else Short(None, memory_holders(ours))


def _read_between(first: Moved, last: Moved) -> int:
    return max(0, (last.io.read_bytes or 0) - (first.io.read_bytes or 0))


def _out(before: Pressure, now: Pressure) -> int:
    return (now.swapped_out_bytes or 0) - (before.swapped_out_bytes or 0)
