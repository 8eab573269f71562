"""The plan view: one preset at a time, as long as it is open at what is true of the machine."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar, Protocol

import msgspec
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from backends.base import Loaded
from backends.planning.fit import FEWEST
from presets.plan import PresetPlan
from presets.schema import PresetEntry
from tui import keys, terminal
from tui.chat.bill import Rates
from tui.keys.bindings import bindings
from tui.plans.live import Planned
from tui.screens.plan.content import View, content
from tui.widgets.keyed import Scroll
from tui.widgets.lines import Lines
from tui.words import _

WIDTH = 112
REFRESH_S = 1.0
LONGEST = 131_072
"""Tokens: no context beyond is tried where a model does not say for how many it was made."""
_BORDER_AND_PADDING = 4
_SCROLLBAR = 1


class Now(msgspec.Struct, frozen=True):
    """What is true at one moment: the plans, and the preset whose model is in memory ("" for none) with that model."""

    planned: Planned | None = None
    loaded_preset: str = ""
    loaded: Loaded | None = None
    rates: Rates = Rates()


class Planner(Protocol):
    """What the view asks for. `plan` plans a preset with another context, `costs` are the mean money of its answers.

    `measure` measures the machine, tells `say` what it does, and returns what is to be said at the end.
    """

    def now(self) -> Now: ...

    def plan(self, name: str, context: int) -> Awaitable[PresetPlan | None]: ...

    def costs(self) -> Awaitable[Mapping[str, dict[str, float]]]: ...

    def measure(self, say: Callable[[str], None]) -> Awaitable[str]: ...


class PlanScreen(ModalScreen[str | None]):
    """The plans of `entries`, beginning with the one called `first`. Ends with the name of the one to load."""

    CSS_PATH = "plan.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("plan")

    def __init__(self, entries: Sequence[PresetEntry], first: str, planner: Planner) -> None:
        super().__init__()
        self._entries = list(entries)
        self._at = next((place for place, entry in enumerate(self._entries) if entry.name == first), 0)
        self._planner = planner
        self._costs: Mapping[str, dict[str, float]] = {}
        self._tried: PresetPlan | None = None
        self._wanted: int | None = None
        self._said = ""
        self._measuring = False
        self._shown: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        with Scroll() as box:
            box.border_title = _("The plan: what this machine can run")
            box.border_subtitle = keys.filled(
                _(
                    "{plan.close} closes · {plan.left} {plan.right} preset · {plan.more} {plan.less} context · "
                    "{plan.load} loads · {plan.measure} measures"
                )
            )
            yield Lines()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self.look()
        self.set_interval(REFRESH_S, self.look)
        self.run_worker(self._read_costs(), group="costs", exit_on_error=False)

    def on_resize(self) -> None:
        self.look()

    def on_screen_resume(self) -> None:
        self.look()

    def look(self) -> None:
        """Show what is true now; costs next to nothing where that is what is shown."""
        if not self.is_active or not self._entries:
            return
        now = self._planner.now()
        width = min(self.app.size.width, WIDTH) - _BORDER_AND_PADDING - _SCROLLBAR
        said, entry = self._said, self._entries[self._at]
        shown = (now.planned, now.loaded_preset, now.loaded, now.rates, self._tried, said, self._costs, self._at, width)
        if len(shown) == len(self._shown) and all(new is old for new, old in zip(shown, self._shown, strict=True)):
            return
        self._replan_tried(now)
        self._shown = shown
        # Textual stands before `sys.stdout`.
        plain = not terminal.shows("█▓▒░▐▲", sys.__stdout__, "utf-8")
        self.query_one(Lines).show(content(self._view(now, entry), width, ascii_only=plain))

    def action_turn(self, step: int) -> None:
        self._go_to((self._at + step) % max(1, len(self._entries)))

    def action_slot(self, slot: int) -> None:
        place = next((at for at, entry in enumerate(self._entries) if entry.preset.slot == slot), None)
        if place is None:
            self.app.bell()
        else:
            self._go_to(place)

    def action_context(self, step: int) -> None:
        planned = self._planner.now().planned
        plan = self._plan(planned)
        if plan is None or plan.fit is None or plan.known is None:
            self.app.bell()
            return
        before = self._wanted or plan.fit.context
        wanted = before * 2 if step > 0 else before // 2
        if FEWEST <= wanted <= (plan.known.shape.context_length or LONGEST):
            self._try(wanted)
        else:
            self.app.bell()

    def action_measure(self) -> None:
        if not self._measuring:
            self._measuring = True
            self.run_worker(self._measure(), group="measure", exit_on_error=False)

    def action_load(self) -> None:
        self.dismiss(self._entries[self._at].name if self._entries else None)

    def _view(self, now: Now, entry: PresetEntry) -> View:
        plan = self._plan(now.planned)
        own = now.planned.plans.get(entry.name) if now.planned is not None else None
        tried = self._tried is not None and own is not None and own.fit is not None
        return View(
            entry.preset.title,
            now.planned.machine if now.planned is not None else None,
            plan,
            keys.slot(entry.preset.slot),
            self._at + 1,
            len(self._entries),
            now.loaded if now.loaded_preset == entry.name else None,
            own.fit.context if tried and own is not None and own.fit is not None else None,
            self._said,
            now.rates,
            self._costs,
        )

    def _plan(self, planned: Planned | None) -> PresetPlan | None:
        if self._tried is not None:
            return self._tried
        return planned.plans.get(self._entries[self._at].name) if planned is not None and self._entries else None

    def _go_to(self, place: int) -> None:
        self._at, self._tried, self._wanted = place, None, None
        self.workers.cancel_group(self, "try")
        self.query_one(VerticalScroll).scroll_home(animate=False)
        self.look()

    def _replan_tried(self, now: Now) -> None:
        """Plan what is tried anew where the machine has changed."""
        if self._wanted is not None and self._shown and self._shown[0] is not now.planned:
            self._try(self._wanted)

    def _try(self, context: int) -> None:
        self._wanted = context

        async def plan() -> None:
            name = self._entries[self._at].name
            found = await self._planner.plan(name, context)
            now = self._planner.now().planned
            own = now.plans.get(name) if now is not None else None
            same = own is not None and own.fit is not None and own.fit.context == context
            self._tried, self._wanted = (None, None) if same else (found, context)
            self.look()

        self.run_worker(plan(), group="try", exclusive=True, exit_on_error=False)

    async def _read_costs(self) -> None:
        self._costs = await self._planner.costs()
        self.look()

    async def _measure(self) -> None:
        try:
            self._say(await self._planner.measure(self._say))
        finally:
            self._measuring = False

    def _say(self, text: str) -> None:
        self._said = text
        self.look()
