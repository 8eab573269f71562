"""The figures of the chat screen: read from the machine and the bill, shown in the footer, explained on demand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from textual.screen import Screen

from backends.hardware.gpu import GpuReading
from tui.chat.clean import clean_line
from tui.chat.machine import Gauges
from tui.chat.seen import Figure, Seen, see
from tui.chat.session import Session
from tui.chat.tally import ChatBill, Tally
from tui.screens.chat.choosing import Presets
from tui.settings import SettingsError, load_settings
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:  # The views are imported when they are first opened.
    from tui.screens.figures.content import View
    from tui.screens.figures.more import Published

SETTLE_S = 1.0


class Explaining:
    """Keeps what the figures of `screen` are made of. `presets` gives what there is to answer with."""

    def __init__(self, screen: Screen[None], presets: Callable[[], Presets]) -> None:
        self._screen = screen
        self._presets = presets
        self._gauges = Gauges()
        self._bill = ChatBill()

    def start(self) -> None:
        self._gauges.sampler.start()

    def stop(self) -> None:
        self._gauges.sampler.stop()

    def take(self, session: Session) -> None:
        """Read the machine, while something happens."""
        self._gauges.take(session)

    def check(self, session: Session) -> bool:
        """Read the machine while nothing happens: another program may take memory. Say whether that was done."""
        if session.busy:
            return False
        self._gauges.take(session)
        return True

    def cards(self) -> GpuReading | None:
        """Return the latest reading of the cards, and ask the driver for the next; waits for nothing."""
        sample = self._gauges.sampler.latest()
        self._gauges.sampler.request()
        return sample.reading if sample is not None else None

    def add_up(self, session: Session, then: Callable[[], None]) -> None:
        """Read the bill of the conversation anew."""

        async def read() -> None:
            await self._bill.read(session)
            then()

        self._screen.run_worker(read(), group="bill", exclusive=True)

    def seen(self, session: Session | None) -> Seen:
        """Return what there is to see now."""
        if session is None:
            return Seen(machine=self._gauges.machine)
        in_messages = isinstance(self._screen.focused, Transcript)
        bill = self._bill.tally if session.conversation is not None else Tally()
        return see(session, self._gauges.machine, bill, in_messages=in_messages)

    def open(self, session: Session | None, predicted: Callable[[str], dict[Figure, str]]) -> None:
        """Open the view of every figure; `predicted` gives what the plan of a preset says of some."""
        from tui.screens.figures.content import View
        from tui.screens.figures.screen import FiguresScreen

        _read_rates(session)

        def look() -> View:
            if session is not None:
                self._gauges.take(session)
            seen = self.seen(session)
            resting = session is None or not (session.busy or session.loading)
            lately, published = tuple(self._gauges.lately()), self._published(seen.preset)
            return View(seen, lately, published, resting, predicted(seen.preset))

        self._screen.app.push_screen(FiguresScreen(look, partial(self.open_usage, session)))

    def open_usage(self, session: Session | None) -> None:
        """Open the usage over time, if there is a store."""
        if session is None:
            self._screen.app.bell()
            return
        from tui.screens.usage import UsageScreen

        _read_rates(session)
        found = {entry.name: entry.preset.published for entry in self._presets().entries}
        published = {name: said.usd_per_answer for name, said in found.items() if said and said.usd_per_answer}
        self._screen.app.push_screen(UsageScreen(session.store, published))

    def _published(self, preset: str) -> Published:
        from tui.screens.figures.more import Published

        entry = self._presets().entry(preset)
        if entry is None:
            return Published()
        published = entry.preset.published
        return Published(clean_line(entry.preset.title), published.usd_per_answer if published is not None else None)


def _read_rates(session: Session | None) -> None:
    """Read again what energy costs, for who has followed the advice; a file that is half written changes nothing."""
    if session is not None:
        with contextlib.suppress(SettingsError):
            session.store.rates = load_settings({}).bill
