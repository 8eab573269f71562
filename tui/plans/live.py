"""The plans of all presets, kept at what is true of this machine while a screen is open.

A thread looks and plans. Nobody waits for it, and nothing that goes wrong there reaches a screen: without a plan the
screen shows what it knows. All that plans is imported in that thread, after the first frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from backends import paths
from backends.errors import Problem
from presets.schema import PresetEntry, source_for
from presets.sources import Located, locate, parse

if TYPE_CHECKING:
    from backends.hardware.gpu import Gpu, GpuReading
    from backends.hardware.machine import Machine
    from presets.plan import PresetPlan

EVERY_S = 1.9
"""Plans are made anew no more often; the screen looks every two seconds."""
STEP_BYTES = 32 * 1024**2
"""What comes or goes of the memory and is less changes no plan by a layer."""
RAM_SHARE, CALM_S = 1 / 50, 10.0
"""Main memory is never still: it counts from this share on, and plans are not made for it alone more often."""

Answer = TypeVar("Answer")


class Situation(msgspec.Struct, frozen=True):
    """What plans depend on and a session knows.

    `pid` is the process that holds its model, `ours_bytes` what that takes of the first card where the driver does not
    tell, `served_bytes` what a server of this machine holds for us there, `loaded` a word for what is in memory.
    `backends` are (preset, backend) where that is not the preset's first.
    """

    reading: GpuReading | None = None
    pid: int | None = None
    ours_bytes: int | None = None
    served_bytes: int = 0
    loaded: str = ""
    backends: tuple[tuple[str, str], ...] = ()


class Planned(msgspec.Struct, frozen=True):
    """Every preset's plan at one moment, by name. `machine` is as if our own models, in `pids`, were gone."""

    machine: Machine
    plans: dict[str, PresetPlan]
    card_usable: bool = True
    pids: frozenset[int] = frozenset()


class Marks(msgspec.Struct, frozen=True):
    """What tells cheaply whether plans are still right. `rest` only has to be equal."""

    vram_free: tuple[int, ...] | None
    ram_free: int | None
    rest: tuple[object, ...] = ()


class LivePlans:
    """Keeps `planned`, None before the first time. `changed` hears of a new one, in another thread."""

    def __init__(self, entries: Sequence[PresetEntry], changed: Callable[[], None]) -> None:
        self.planned: Planned | None = None
        self._entries = tuple(entries)
        self._changed = changed
        self._situation = Situation()
        self._marks: Marks | None = None
        self._planned_at = 0.0
        self._usable: bool | None = None
        self._anew = False
        self._wake = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def tell(self, situation: Situation) -> None:
        """Say what is true of the session now, every few seconds: each time it is looked whether plans are right."""
        self._situation = situation
        self._wake.set()
        if self._thread is None and not self._ended:
            self._thread = threading.Thread(target=self._run, name="plans", daemon=True)
            self._thread.start()

    def again(self) -> None:
        """Plan anew, whatever has changed."""
        self._anew = True
        self._wake.set()

    def stop(self) -> None:
        """End after what is under way. Does not wait for it."""
        self._ended = True
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._ended:
                return
            with contextlib.suppress(Exception):  # A sick machine may make anything fail, and the next look comes soon.
                self._look()

    def _look(self) -> None:
        situation, age_s = self._situation, time.monotonic() - self._planned_at
        if not self._anew and age_s < EVERY_S:
            return
        marks = marks_of(situation, self._entries)
        if not self._anew and self._marks is not None and not differs(self._marks, marks, age_s):
            return
        self._anew = False
        # A process that has just ended may be on the card for a moment yet.
        before = self.planned.pids if self.planned is not None else frozenset()
        machine, pids = look_here(situation, before)
        self._marks, self._planned_at = marks, time.monotonic()
        usable = self._usable is not False
        self._publish(msgspec.structs.replace(planned(self._entries, machine, situation, usable), pids=pids))
        if machine.gpus and self._usable is None:
            # It may take a second, or half a minute where a driver hangs.
            self._usable = True
            threading.Thread(target=self._ask, name="card-usable", daemon=True).start()

    def _publish(self, found: Planned) -> None:
        if found != self.planned and not self._ended:
            self.planned = found
            self._changed()

    def _ask(self) -> None:
        from tui.plans.looking import card_usable

        with contextlib.suppress(Exception):
            if not card_usable():
                self._usable = False
                self.again()


def planned(
    entries: Sequence[PresetEntry], machine: Machine, situation: Situation, card_usable: bool = True
) -> Planned:
    """Plan every preset; one whose plan fails has none."""
    from presets.plan import plan_preset

    chosen, plans = dict(situation.backends), {}
    for entry in entries:
        with contextlib.suppress(Exception):
            plans[entry.name] = plan_preset(entry, machine, chosen.get(entry.name), card_usable=card_usable)
    return Planned(machine, plans, card_usable)


def look_here(situation: Situation, before: frozenset[int] = frozenset()) -> tuple[Machine, frozenset[int]]:
    """Look at this machine as it is without any model of ours: another window's is ended too before one is loaded.

    Returns the processes that hold our models as well. Those of `before` count once more.
    """
    from tui.plans import looking

    pids = frozenset(looking.host_pids())
    if situation.pid is not None:
        pids |= {situation.pid}
    # The session's sampler holds the driver open, so that reading the cards once more takes no second.
    machine = looking.this_machine(pids | before, ours_bytes=situation.ours_bytes)
    return looking.without(machine, situation.served_bytes), pids


def marks_of(situation: Situation, entries: Sequence[PresetEntry]) -> Marks:
    """Take the marks: a few small files of the kernel, and where each model's file is."""
    from backends.hardware.memory import ram

    reading = situation.reading
    cards = None if reading is None else tuple(_free(gpu, situation) for gpu in reading.gpus)
    rest = (situation.pid, situation.loaded, situation.backends, _touched(), *_files(entries, dict(situation.backends)))
    return Marks(cards, ram().available_bytes, rest)


def differs(before: Marks, now: Marks, age_s: float) -> bool:
    """Say whether plans made at `before`, `age_s` ago, may be wrong by now."""
    if before.rest != now.rest or (before.vram_free is None) != (now.vram_free is None):
        return True
    cards = before.vram_free or (), now.vram_free or ()
    if len(cards[0]) != len(cards[1]) or any(abs(old - new) > STEP_BYTES for old, new in zip(*cards, strict=True)):
        return True
    if before.ram_free is None or now.ram_free is None:
        return before.ram_free != now.ram_free
    least = max(STEP_BYTES, RAM_SHARE * before.ram_free)
    return age_s >= CALM_S and abs(before.ram_free - now.ram_free) > least


async def apart(work: Callable[[], Answer]) -> Answer:
    """Do something in a thread of its own, for which the end of the program does not wait: a dead disk may hold it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def deliver(answer: Answer | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)  # type: ignore[arg-type]  # there is an answer where there is no error

    def run() -> None:
        answer, failed = None, None
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            failed = error
        with contextlib.suppress(RuntimeError):  # the program has ended meanwhile
            loop.call_soon_threadsafe(deliver, answer, failed)

    threading.Thread(target=run, name="apart", daemon=True).start()
    return await future


def _free(gpu: Gpu, situation: Situation) -> int:
    """Return what can be had of a card: what is ours comes free before another model is loaded."""
    if gpu.ours_bytes is not None:
        return gpu.free_bytes + gpu.ours_bytes
    return gpu.free_bytes + (situation.ours_bytes or 0 if gpu.index == 0 else 0)


def _files(entries: Sequence[PresetEntry], backends: dict[str, str]) -> Iterator[Located | None]:
    for entry in entries:
        try:
            source = source_for(entry.preset, backends.get(entry.name, entry.preset.backend), name=entry.name)
            yield locate(parse(source))
        except Problem:
            yield None


def _touched() -> int:
    """Return when something was last kept in the cache folder: what was measured, learned, or read of a header."""
    try:
        return paths.cache().stat().st_mtime_ns
    except OSError:
        return 0
