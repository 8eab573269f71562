"""The plans of the chat screen: kept current, in the sidebar, in a view of their own, and told before a model loads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from textual.screen import Screen

from backends.host import launch
from tui import keys
from tui.chat.seen import Figure
from tui.chat.session import Session
from tui.chat.target import Target
from tui.plans.live import LivePlans, Planned, Situation, apart
from tui.screens.chat import notices
from tui.screens.chat.choosing import Presets
from tui.screens.chat.explaining import Explaining
from tui.screens.chat.lists import Coming
from tui.screens.chat.shown import Shown
from tui.widgets.sidebar import PresetList
from tui.words import N_, _

if TYPE_CHECKING:  # What plans is imported when there is something to plan: after the first frame.
    from presets.plan import PresetPlan
    from presets.schema import PresetEntry
    from tui.plans.brief import Held
    from tui.plans.preflight import Preflight
    from tui.screens.plan import PlanScreen
    from tui.screens.plan.screen import Now

SIDEBAR_WIDTH = 28
PATIENCE_S = 10.0
"""So long the first plan is waited for, to say something about a load that has begun."""
_POLL_S = 0.05
REFUSED = N_("A model is loading or answering, and would take its share of what is measured: press m when it is done.")


class Planning:
    """Plans for `screen` with the figures of `explaining`. `choose` chooses a preset, `say` tells in passing."""

    def __init__(
        self,
        screen: Screen[None],
        explaining: Explaining,
        presets: Callable[[], Presets],
        choose: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self._screen = screen
        self._explaining = explaining
        self._presets = presets
        self._choose = choose
        self._say = say
        self._shown: Shown | None = None
        self._session: Session | None = None
        self._live: LivePlans | None = None
        self._view: PlanScreen | None = None
        self._loading: Target | None = None
        self.coming: Callable[[], Mapping[str, Coming]] = dict
        """What the sidebar says instead of a plan, by preset: how far a fetch is."""
        self.heard: Callable[[], None] = lambda: None
        """Is told that there are new plans."""
        self._warning: asyncio.Task[None] | None = None

    def start(self, session: Session | None, shown: Shown) -> None:
        """Have everything ready for the first `look`. `shown` takes what is to be said before a load.

        To be called again where the presets are others.
        """
        self.stop()
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()

        def changed() -> None:
            # No message: one that comes under another screen has that painted anew, all of it.
            with contextlib.suppress(RuntimeError):  # The program has ended meanwhile.
                loop.call_soon_threadsafe(self._take_plans, context=context)

        self._session, self._shown = session, shown
        self._live = LivePlans(self._presets().entries, changed)

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()

    def look(self) -> None:
        """Have it looked whether the plans are still right, and show what is true."""
        if self._live is not None:
            self._live.tell(self._situation())
        self.show()

    def show(self) -> None:
        """Show the presets in the sidebar; under another screen that is done when it closes."""
        if self._session is not None and self._screen.is_active:
            lines = self._presets().lines(self._session, self._plans, self._held, self.coming())
            self._screen.query_one(PresetList).show(lines, SIDEBAR_WIDTH)

    def take(self, session: Session) -> None:
        """Take in that something has changed: where a load has begun, say what is to be known of it."""
        before, self._loading = self._loading, session.target if session.loading else None
        if self._loading is not None and self._loading != before:
            if self._warning is not None:
                self._warning.cancel()
            self._warning = asyncio.create_task(self._warn(session, self._loading))

    def predicted(self, name: str) -> dict[Figure, str]:
        """Return what plans say of some figures, to stand beside what is measured: `name` is who gave the answer."""
        from tui.plans import told
        from tui.units import memory

        loaded = self._session.loaded_target if self._session is not None else None
        figures: dict[Figure, str] = {}
        for figure, preset in (("speed", name), ("ours", loaded.preset if loaded is not None else "")):
            plan = self._plans.get(preset)
            if plan is None or plan.fit is None:
                continue
            found = plan.fit
            layers = keys.filled(
                _("with {ours}/{all} layers on the card: {program.plan} says why."),
                ours=found.gpu_layers,
                all=found.layers,
            )
            if figure == "ours" and not found.output_on_card:
                figures["ours"] = keys.filled(_("The plan puts nothing on a card: {program.plan} says why."))
            elif figure == "ours":
                figures["ours"] = _("The plan predicts {what} {layers}").format(
                    what=memory(found.bytes.vram.total), layers=layers
                )
            elif found.tokens_per_second is not None:
                figures["speed"] = _("The plan predicts {what} {layers}").format(
                    what=f"{told.predicted(found)} tok/s", layers=layers
                )
        return figures

    @property
    def planned(self) -> Planned | None:
        """All plans as they are now, None before the first time."""
        return self._live.planned if self._live is not None else None

    def plan_now(self, name: str, backend: str) -> PresetPlan | None:
        """Return what is planned of a preset with a backend at this moment."""
        plan = self._plans.get(name)
        return plan if plan is not None and plan.backend == backend else None

    async def plan_anew(self, entry: PresetEntry, backend: str) -> PresetPlan | None:
        """Plan a preset with what is known of its model by now; None where this machine cannot be looked at."""
        from presets.plan import plan_preset

        planned = await self._first_plan()
        if planned is None:
            return None
        return await apart(lambda: plan_preset(entry, planned.machine, backend, card_usable=planned.card_usable))

    # The view.

    def open(self) -> None:
        """Open the plan view, at the preset that is chosen."""
        from tui.screens.plan import PlanScreen

        def closed(name: str | None) -> None:
            self._view = None
            if name is not None:
                self._choose(name)

        target = self._session.target if self._session is not None else None
        self._view = PlanScreen(self._presets().entries, target.preset if target is not None else "", self)
        self._screen.app.push_screen(self._view, closed)

    def now(self) -> Now:
        """Return what the view shows, and have it looked whether it is still right."""
        from tui.chat.bill import Rates
        from tui.screens.plan.screen import Now

        session = self._session
        if self._live is not None:
            self._live.tell(self._situation())
        rates = session.store.rates if session is not None else Rates()
        held = self._held
        loaded = session.loaded_target if session is not None and held is not None else None
        name = loaded.preset if loaded is not None else ""
        return Now(self._planned, name, held.loaded if held is not None else None, rates)

    async def plan(self, name: str, context: int) -> PresetPlan | None:
        """Plan a preset with another context."""
        entry, planned = self._presets().entry(name), self._planned
        if entry is None or planned is None:
            return None
        from presets.plan import plan_preset

        chosen = dict(self._situation().backends).get(name)
        machine, usable = planned.machine, planned.card_usable
        return await apart(lambda: plan_preset(entry, machine, chosen, context=context, card_usable=usable))

    async def costs(self) -> Mapping[str, dict[str, float]]:
        """Return what answers cost here, by preset."""
        from tui.plans.spent import answer_costs

        return await apart(answer_costs)

    async def measure(self, say: Callable[[str], None]) -> str:
        """Measure what of this machine was never measured, unless a model works; return what is to be said then."""
        from backends.hardware.calibration import calibrate, unmeasured
        from tui.plans.looking import files_here

        session, planned = self._session, self._planned
        if planned is None:
            return ""
        if session is not None and (session.busy or session.loading):
            return _(REFUSED)
        if any(view.busy for view in await launch.survey()):
            return _(REFUSED)
        if not unmeasured(planned.machine):
            return _("This machine was measured already.")
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        failures: list[str] = []

        def hear(text: str) -> None:
            if not text.endswith("…"):
                failures.append(text)
            loop.call_soon_threadsafe(say, text, context=context)

        entries = self._presets().entries
        try:
            await apart(lambda: calibrate(planned.machine, files_here(entries), hear))
        except (OSError, RuntimeError, MemoryError) as error:
            return _("This machine cannot be measured: {error}.").format(error=error)
        if self._live is not None:
            self._live.again()
        return " ".join(failures) or _("Measured.")

    # Before a load.

    async def _warn(self, session: Session, target: Target) -> None:
        planned, entry = await self._first_plan(), self._presets().entry(target.preset)
        if planned is None or entry is None:
            return
        context = target.spec.options.get("context")
        tokens = context if isinstance(context, int) else None
        key = keys.slot(entry.preset.slot)
        found: Preflight | None = None
        with contextlib.suppress(Exception):  # What cannot be told in advance must not end the screen.
            found = await apart(lambda: _preflight(planned, entry, target.spec.backend, tokens, key))
        if found is not None and session.target == target and self._shown is not None:
            self._shown.notice(notices.preflight_entry(target.title, found))
            self._say(f"{target.title}: {found.short}")

    async def _first_plan(self) -> Planned | None:
        for _try in range(round(PATIENCE_S / _POLL_S)):
            if self._planned is not None:
                break
            await asyncio.sleep(_POLL_S)
        return self._planned

    # What is known.

    def _take_plans(self) -> None:
        if not self._screen.is_running:
            return
        self.show()
        if self._view is not None:
            self._view.look()
        self.heard()

    @property
    def _planned(self) -> Planned | None:
        return self.planned

    @property
    def _plans(self) -> Mapping[str, PresetPlan]:
        return self._planned.plans if self._planned is not None else {}

    @property
    def _held(self) -> Held | None:
        """What is in memory for this session, and what it takes of the cards."""
        seen = self._explaining.seen(self._session)
        if self._session is None or seen.loaded is None:
            return None
        from tui.plans.brief import Held

        return Held(seen.loaded, seen.ours.used_bytes, seen.ours.how == "difference")

    def _situation(self) -> Situation:
        session, reading = self._session, self._explaining.cards()
        if session is None:
            return Situation(reading)
        seen = self._explaining.seen(session)
        loaded, target = seen.loaded, session.target
        entry = self._presets().entry(target.preset) if target is not None else None
        others: tuple[tuple[str, str], ...] = ()
        if target is not None and entry is not None and target.spec.backend != entry.preset.backend:
            others = ((entry.name, target.spec.backend),)
        return Situation(
            reading,
            session.host_pid,
            seen.ours.used_bytes,
            loaded.vram_bytes or 0 if loaded is not None and loaded.place == "machine" else 0,
            f"{target.preset} {loaded.gpu_layers} {loaded.context}"
            if target is not None and loaded is not None
            else "",
            others,
        )


def _preflight(planned: Planned, entry: PresetEntry, backend: str, context: int | None, key: str) -> Preflight | None:
    """Compare the plan with the one that the machine would allow if nobody else were on its card."""
    from presets.plan import plan_preset
    from tui.plans.looking import emptied, holders
    from tui.plans.preflight import preflight

    machine, usable = planned.machine, planned.card_usable
    plan = plan_preset(entry, machine, backend, context=context, card_usable=usable)
    place = plan.fit.card if plan.fit is not None else None
    if place is None:
        return preflight(plan)
    others = holders(machine.gpus[place], planned.pids)
    alone = plan_preset(entry, emptied(machine, place, others), backend, context=context, card_usable=usable)
    return preflight(plan, alone, others, key)
