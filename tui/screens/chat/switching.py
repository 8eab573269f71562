"""Another preset by its key or name; and `^o`, the preset's next backend, or why those before it cannot be used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from backends.base import Availability
from backends.errors import ModelNotFound, Problem
from backends.titles import backend_title
from presets.schema import PresetEntry
from tui import keys
from tui.chat.session import Session
from tui.chat.switching import Switch, next_backend
from tui.screens.chat import notices
from tui.screens.chat.choosing import Presets
from tui.screens.chat.fetching import Fetching
from tui.screens.chat.mending import Mending
from tui.screens.chat.offering import Offering
from tui.screens.chat.shown import Shown
from tui.words import _


class Switching:
    """Has `session` answer with another of `presets`; what is missing for it is offered. `say` tells in passing."""

    def __init__(
        self,
        session: Callable[[], Session | None],
        presets: Callable[[], Presets],
        offering: Offering,
        fetching: Fetching,
        failed: Callable[[Problem], None],
        say: Callable[[str], None],
    ) -> None:
        self._session = session
        self._presets = presets
        self._offering = offering
        self._fetching = fetching
        self._failed = failed
        self._say = say

    def choose(self, name: str, backend: str | None = None) -> None:
        """Answer with a preset from now on."""
        session = self._session()
        if session is None:
            return
        self._say("")
        try:
            target = self._presets().target(name, backend)
        except Problem as problem:
            if not isinstance(problem, ModelNotFound) or not self._offering.offer(name, backend):
                self._failed(problem)
        else:
            if target is not None:
                self._fetching.forget_wishes()
                session.choose(target)

    def slot(self, slot: int) -> None:
        """Answer with the preset that has a key."""
        if name := self._presets().in_slot(slot):
            self.choose(name)
        else:
            self._say(_("No preset has the key {key}").format(key=keys.slot(slot)))

    async def next_backend(self, mending: Mending, shown: Shown) -> None:
        """Answer with the preset's next backend."""
        session = self._session()
        if session is not None and session.target and (entry := self._presets().entry(session.target.preset)):
            await switch(session, entry, self._presets().keep_alive_s, mending, shown, self._say)


async def switch(
    session: Session,
    entry: PresetEntry,
    keep_alive_s: float | None,
    mending: Mending,
    shown: Shown,
    say: Callable[[str], None],
) -> None:
    """Answer with the next backend that can be used; one that only has to be started is offered first."""
    target = session.target
    if target is None:
        return
    title, now = entry.preset.title, target.spec.backend
    if len(entry.preset.backends) < 2:
        say(_("{title} has only {backend}").format(title=title, backend=backend_title(now)))
        return
    from backends import registry  # Not at the top: see `Presets`.

    def probe(name: str, options: dict[str, object]) -> Availability:
        return registry.probe(name, options=options)

    say(_("Looking at what else can run {title} …").format(title=title))
    found = await asyncio.to_thread(next_backend, entry, now, keep_alive_s, probe)
    say("")
    if session.target != target:
        return  # Something else was chosen meanwhile.
    startable = next((refusal for refusal in found.refusals if refusal.target is not None), None)
    wanted = found
    if (
        startable is not None
        and startable.target is not None
        and await mending.started(startable.target, startable.startable)
    ):
        wanted = Switch(startable.target, found.refusals[: found.refusals.index(startable)])
    if wanted.target is not None:
        session.choose(wanted.target)
    if wanted.refusals:
        stays = wanted.target is None
        shown.notice(notices.backends_entry(title, backend_title(now) if stays else "", wanted.refusals))
    elif wanted.target is None:
        say(_("{title} has only {backend} here").format(title=title, backend=backend_title(now)))
