"""What can tell the energy of one device, and how such sources are found."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import msgspec

COUNTER_INTERVAL_S = 1.0
POWER_INTERVAL_S = 0.2


class Unread(Exception):
    """A source does not answer now. A later read tells what it can about the time until then."""


class Source(Protocol):
    """The energy of one device. Used by one thread; its calls may hang.

    `device` and `label` are for people: "GPU 0 NVIDIA GeForce RTX 3070", "NVML energy counter". `measured` is False
    for an estimate, `card` True for a graphics card. `note` is what a reader of its figures must know, `problem` why
    it did not answer the last time; both may be empty.
    """

    device: str
    label: str
    measured: bool
    interval_s: float
    card: bool
    note: str
    problem: str

    def read(self, now_s: float) -> int | None:
        """Return the microjoules since the last read that succeeded, None if they are unknown; raise Unread."""

    def in_use(self, pids: Collection[int] | None) -> bool | None:
        """Say whether one of `pids` (None: anybody) uses a card. None: the driver does not tell."""


class Opened(msgspec.Struct, frozen=True):
    """The sources that were found. `problem` says what could not be, `remedy` how to allow it; `again` may help."""

    sources: tuple[Source, ...] = ()
    problem: str = ""
    remedy: str = ""
    again: bool = False


class Opening(msgspec.Struct, frozen=True):
    """A group of sources that is read by one thread.

    `silent` says of a device that its calls hang. `note` tells what else a reader of the figures must know, now.
    """

    name: str
    silent: str
    open: Callable[[], Opened]
    close: Callable[[], None] = lambda: None
    note: Callable[[], str] = lambda: ""
    cards: bool = False
