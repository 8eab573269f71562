"""The first start: what this machine is, what fits it best, and Enter for it. Until then the starter answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.screen import Screen

from backends.errors import Problem
from presets.schema import PresetEntry, source_for
from presets.sources import locate, parse
from tui import keys
from tui.plans.live import apart
from tui.screens.chat import notices
from tui.screens.chat.choosing import Presets, source_of
from tui.screens.chat.fetching import Fetching, last_rate
from tui.screens.chat.offering import Offering
from tui.screens.chat.planning import Planning
from tui.screens.chat.shown import Shown
from tui.screens.chat.start import STARTER, Begun
from tui.settings import settings_file

if TYPE_CHECKING:
    from presets.advice import Advice
    from tui.screens.fetch.offer import Others

AGAIN_S = 2.0
"""A second Enter so soon is the same wish: a job is seen a moment after it was begun."""


class FirstStart:
    """Welcomes who has never used the program, in `shown`, as soon as there are plans."""

    def __init__(
        self,
        screen: Screen[None],
        presets: Callable[[], Presets],
        fetching: Fetching,
        offering: Offering,
        planning: Planning,
    ) -> None:
        self._screen = screen
        self._fetching = fetching
        self._offering = offering
        self._planning = planning
        self._presets = presets
        self._shown: Shown | None = None
        self._advice: Advice | None = None
        self._others: Others | None = None
        self._others_of = ""
        self._beginning = False
        self._begun_at = -AGAIN_S
        self._rate: float | None = None

    async def begin(self, begun: Begun, shown: Shown) -> None:
        """Welcome the user of this start; say more where it is the first one."""
        if begun.chat is not None:
            return
        starter = begun.target is not None and begun.target.preset == STARTER
        shown.notice(notices.welcome_entry(starter=starter))
        if starter and not begun.missing and await asyncio.to_thread(_is_first, self._presets()):
            self._shown = shown
            self._rate = await asyncio.to_thread(last_rate)
            self._planning.heard = self.advise
            self.advise()

    def take(self) -> None:
        """Begin with what was advised, if the advice still stands: Enter was pressed with nothing typed."""
        advice, shown = self._advice, self._shown
        entry = self._presets().entry(advice.plan.name) if advice is not None else None
        if advice is None or entry is None or shown is None or not shown.shows(notices.WELCOME):
            return
        if advice.plan.located.present:
            return
        if self._beginning or self._is_coming(entry) or time.monotonic() - self._begun_at < AGAIN_S:
            return
        self._beginning, self._begun_at = True, time.monotonic()
        self._screen.run_worker(self._begin(entry, advice), group="first")

    async def _begin(self, entry: PresetEntry, advice: Advice) -> None:
        backend, same = advice.plan.backend, self._others.same if self._others is not None else None
        try:
            if same is not None:
                await self._offering.use(entry, backend, same)
            elif await self._is_short(entry, advice):
                self._offering.offer(entry.name, backend)
            else:
                await self._offering.begin(entry, backend, explicit=True)
        finally:
            self._beginning = False

    async def _is_short(self, entry: PresetEntry, advice: Advice) -> bool:
        """Say whether there is too little room: then the question tells what helps."""
        from tui.screens.fetch.offer import free_bytes, offer, with_plan, with_room

        source = source_of(entry, advice.plan.backend)
        if source is None:
            return False
        free = await apart(lambda: free_bytes(source))
        return bool(with_room(with_plan(offer(entry, source), advice.plan), free).missing_bytes)

    def advise(self) -> None:
        """Say what is best, now that there are plans, and again when they are others."""
        planned, shown = self._planning.planned, self._shown
        if planned is None or shown is None or not shown.shows(notices.WELCOME):
            return
        from presets.advice import advise
        from tui.plans.first import lines

        candidates = [
            planned.plans[entry.name]
            for entry in self._presets().entries
            if entry.name in planned.plans and _can_be_had(entry, planned.plans[entry.name].backend)
        ]
        self._advice = advise(candidates)
        name = self._advice.plan.name if self._advice is not None else ""
        if name and name != self._others_of:
            self._others, self._others_of = None, name
            self._screen.run_worker(self._look_elsewhere(name), group="first-look", exclusive=True)
        same = self._others.same if self._others is not None else None
        entry = self._presets().entry(name)
        key = keys.slot(entry.preset.slot) if entry is not None else ""
        told = lines(
            planned.machine,
            self._advice,
            card_usable=planned.card_usable,
            key=key,
            coming=self._is_coming(entry),
            rate=self._rate,
            same=same,
        )
        shown.notice(notices.first_entry(told))

    def _is_coming(self, entry: PresetEntry | None) -> bool:
        if entry is None or self._advice is None:
            return False
        view = self._fetching.of(entry, self._advice.plan.backend)
        return view is not None and view.running

    async def _look_elsewhere(self, name: str) -> None:
        from tui.screens.fetch.offer import others

        entry, entries = self._presets().entry(name), self._presets().entries
        if entry is not None:
            self._others = await apart(lambda: others(entry, entries))
            self.advise()


def _is_first(presets: Presets) -> bool:
    """Say whether nothing is here but what came with the program: no settings, and no model but the starter."""
    if settings_file().exists():
        return False
    return not any(_is_here(entry) for entry in presets.entries if entry.name != STARTER)


def _is_here(entry: PresetEntry) -> bool:
    try:
        return locate(parse(source_for(entry.preset, entry.preset.backend, name=entry.name))).present is True
    except Problem:
        return False


def _can_be_had(entry: PresetEntry, backend: str) -> bool:
    return entry.name != STARTER and (source_of(entry, backend) is not None or _is_here(entry))
