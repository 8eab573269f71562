"""What happens when a preset is chosen whose model is not here: the question, and what follows from its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from textual.screen import Screen

from backends.errors import Problem
from presets.schema import PresetEntry
from presets.sources import HuggingFace, locate
from tui.keys import filled
from tui.plans.live import apart
from tui.screens.chat.choosing import Presets, wanted_of
from tui.screens.chat.fetching import Fetching, last_rate
from tui.screens.chat.planning import Planning
from tui.words import _

if TYPE_CHECKING:
    from backends.jobs.job import JobView
    from backends.ollama.wanted import OllamaPull
    from presets.found import Found
    from tui.screens.fetch import FetchScreen


class Asked(msgspec.Struct, frozen=True):
    """What a screen does for the question: it loads a preset, reads them all anew, tells failures, says in passing."""

    choose: Callable[[str, str | None], None]
    reload: Callable[[], Awaitable[None]]
    failed: Callable[[Problem], None]
    say: Callable[[str], None]


class Offering:
    """Asks above `screen` about presets whose models are not here."""

    def __init__(
        self,
        screen: Screen[None],
        presets: Callable[[], Presets],
        fetching: Fetching,
        planning: Planning,
        asked: Asked,
    ) -> None:
        self._screen = screen
        self._presets = presets
        self._fetching = fetching
        self._planning = planning
        self._asked = asked
        self._one_at_a_time = asyncio.Lock()
        self._open: set[tuple[str, str]] = set()

    def offer(self, name: str, backend: str | None = None) -> bool:
        """Ask whether to fetch a preset's model; say whether that is what it needs."""
        entry = self._presets().entry(name)
        if entry is None:
            return False
        chosen = backend or entry.preset.backend
        made = self._fetching.making(entry)
        if made is not None:
            self._fetching.wish(made.key, name, chosen)
            said = _("{title} loads when it is made. {program.palette}, then Stop, ends it")
            self._asked.say(filled(said, title=entry.preset.title))
            return True
        source = wanted_of(entry, chosen)
        if source is None or (isinstance(source, HuggingFace) and locate(source).present):
            return False
        view = self._fetching.of(entry, chosen)
        if view is not None and view.running:
            self._fetching.wish(view.key, name, chosen)
            said = _("{title} loads when it is here. {program.palette}, then Stop, ends it")
            self._asked.say(filled(said, title=entry.preset.title))
        elif (name, chosen) not in self._open:
            self._open.add((name, chosen))
            self._screen.run_worker(self._in_turn(entry, chosen, source, view), group="offer")
        return True

    def load(self, entry: PresetEntry, backend: str) -> None:
        """Load a preset whose model is here."""
        self._asked.choose(entry.name, backend)

    async def begin(self, entry: PresetEntry, backend: str, *, explicit: bool = False, force: bool = False) -> None:
        """Begin to fetch a model, and say what becomes of it."""
        try:
            await self._fetching.begin(entry, backend, explicit=explicit, force=force)
        except Problem as problem:
            self._asked.failed(problem)
        else:
            self._asked.say(filled(_("It comes in the background. {program.palette}, then Stop, ends it")))

    async def use(self, entry: PresetEntry, backend: str, found: Found) -> None:
        """Let a preset use a model where another program keeps it, and load it."""
        try:
            await apart(lambda: _use(entry, found))
            await self._asked.reload()
        except Problem as problem:
            self._asked.failed(problem)
        else:
            self._asked.choose(entry.name, backend)

    async def _in_turn(
        self, entry: PresetEntry, backend: str, source: HuggingFace | OllamaPull, view: JobView | None
    ) -> None:
        """Ask when nothing else is asked: a question that stands keeps its place under the user's fingers."""
        try:
            async with self._one_at_a_time:
                if isinstance(source, HuggingFace):
                    await self._ask(entry, backend, source, view)
                else:
                    await self._ask_for_server(entry, backend, source, view)
        finally:
            self._open.discard((entry.name, backend))

    async def _ask(self, entry: PresetEntry, backend: str, source: HuggingFace, view: JobView | None) -> None:
        from tui.screens.fetch import FetchScreen
        from tui.screens.fetch.offer import offer, with_plan

        first = offer(entry, source, view, await asyncio.to_thread(last_rate))
        question = FetchScreen(with_plan(first, self._planning.plan_now(entry.name, backend)))
        looks = asyncio.gather(
            self._look_at_room(question, source),
            self._look_elsewhere(question, entry),
            self._look_how_long(question, entry),
            self._ask_the_server(question, entry, backend, source),
            return_exceptions=True,
        )
        try:
            answer = await self._screen.app.push_screen_wait(question)
        finally:
            looks.cancel()
        if answer in {"fetch", "force"}:
            await self.begin(entry, backend, force=answer == "force")
        elif answer == "use" and question.offer.elsewhere is not None:
            await self.use(entry, backend, question.offer.elsewhere)

    async def _ask_for_server(self, entry: PresetEntry, backend: str, pull: OllamaPull, view: JobView | None) -> None:
        """Ask about a model that a server would fetch for itself: only that one knows its size."""
        from tui.screens.fetch import FetchScreen
        from tui.screens.fetch.offer import free_at_server, offer_by_server, with_room

        question = FetchScreen(offer_by_server(entry, pull, view))

        async def look_at_room() -> None:
            free = await apart(lambda: free_at_server(pull))
            question.take(with_room(question.offer, free))

        look = asyncio.ensure_future(look_at_room())
        try:
            answer = await self._screen.app.push_screen_wait(question)
        finally:
            look.cancel()
        if answer in {"fetch", "force"}:
            await self.begin(entry, backend)

    async def _look_at_room(self, question: FetchScreen, source: HuggingFace) -> None:
        from tui.screens.fetch.offer import free_bytes, with_room

        free = await apart(lambda: free_bytes(source))
        question.take(with_room(question.offer, free))

    async def _look_elsewhere(self, question: FetchScreen, entry: PresetEntry) -> None:
        from tui.screens.fetch.offer import others, with_others

        entries = self._presets().entries
        found = await apart(lambda: others(entry, entries))
        question.take(with_others(question.offer, found))

    async def _look_how_long(self, question: FetchScreen, entry: PresetEntry) -> None:
        """Say how long it takes to make the model here, for a preset that says how."""
        if entry.preset.build is None:
            return
        from presets.building import seconds_to_make
        from tui.screens.fetch.offer import with_seconds

        seconds = await apart(lambda: seconds_to_make(entry))
        question.take(with_seconds(question.offer, seconds))

    async def _ask_the_server(
        self, question: FetchScreen, entry: PresetEntry, backend: str, source: HuggingFace
    ) -> None:
        from presets import remote
        from tui.screens.fetch.offer import answered, with_plan

        plan = await self._planning.plan_anew(entry, backend)
        question.take(with_plan(question.offer, plan))
        if question.offer.asking:
            trouble = await remote.ask(source)
            if trouble is None:
                plan = await self._planning.plan_anew(entry, backend)
            question.take(answered(with_plan(question.offer, plan), trouble))


def _use(entry: PresetEntry, found: Found) -> None:
    from presets import writing
    from presets.catalog import load_catalog
    from presets.drafting import source_of as source_of_found

    writing.change(load_catalog(), entry.name, {("backends", "llama_cpp", "source"): source_of_found(found)})
