"""The fetches of the chat screen: what is on its way, whoever has begun it, how it ended, and what is loaded then.

Other jobs are watched and told too: models that are made here, and measurements.

All of it is read from files, once a second while there is a job, and every two seconds otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from textual.app import SystemCommand
from textual.markup import escape
from textual.screen import Screen
from textual.timer import Timer

from backends.errors import Problem
from presets.schema import PresetEntry
from tui import keys
from tui.chat.clean import clean_line
from tui.chat.session import Session
from tui.screens.chat import notices
from tui.screens.chat.choosing import Presets, wanted_of
from tui.screens.chat.lists import Coming
from tui.screens.chat.shown import Shown
from tui.widgets.fetch_line import show_over
from tui.words import N_, _

if TYPE_CHECKING:  # What looks at jobs is imported by the first look: after the first frame.
    from backends.jobs.job import JobView

POLL_S = 1.0
MADE, MEASURED = "quantize", "quality"
"""The kinds of jobs that make a model here, after which presets are read anew, and that measure one."""


class Wish(msgspec.Struct, frozen=True):
    """A preset to be loaded once its model is here. `said` is what stood in the chat when it was wished.

    An `explicit` wish waits for a pause. Any other is dropped once a question has been asked meanwhile.
    """

    preset: str
    backend: str | None
    explicit: bool
    said: tuple[str, int]


class Fetching:
    """Watches the fetches for `screen`. `choose` loads a preset, `changed` shows lines and lists anew."""

    def __init__(
        self,
        screen: Screen[None],
        presets: Callable[[], Presets],
        choose: Callable[[str, str | None], None],
        changed: Callable[[], None],
    ) -> None:
        self._screen = screen
        self._presets = presets
        self._choose = choose
        self._changed = changed
        self._session: Session | None = None
        self._shown: Shown | None = None
        self._timer: Timer | None = None
        self._views: dict[str, JobView] | None = None
        self._rates: dict[str, float] = {}
        self._wishes: dict[str, Wish] = {}
        self._keys: tuple[Presets | None, dict[str, list[str]]] = (None, {})
        self._looking = False
        self._began = self._starting = 0
        self.made: Callable[[], Awaitable[None]] | None = None
        """Is called when a model was made here: presets may use another one now."""
        self.forms: tuple[str, ...] = ()
        """What is fetched now, as `tui.screens.fetch.words.line_forms` writes it."""

    def start(self, session: Session | None, shown: Shown) -> None:
        """Begin to watch. `shown` takes how fetches ended."""
        self._session, self._shown = session, shown
        self._timer = self._screen.set_interval(POLL_S, self.look, pause=True)

    # What there is.

    @property
    def running(self) -> list[JobView]:
        return [view for view in (self._views or {}).values() if view.running]

    def of(self, entry: PresetEntry, backend: str) -> JobView | None:
        """Return the fetch of a preset's model for a backend, also one that has ended and was not done."""
        from presets.pulling import job_key

        source = wanted_of(entry, backend)
        return (self._views or {}).get(job_key(source)) if source is not None else None

    def making(self, entry: PresetEntry) -> JobView | None:
        """Return the job that makes a preset's model just now, None where none does."""
        found = (view for view in self.running if view.spec.kind == MADE)
        return next((view for view in found if entry.name in self._names(view.key)), None)

    def coming(self) -> Mapping[str, Coming]:
        """Return what the sidebar says of presets whose model is being fetched, or was not fetched to its end."""
        from tui.screens.fetch.words import brief

        shown: dict[str, Coming] = {}
        for view in (self._views or {}).values():
            if view.state != "done":
                shown |= dict.fromkeys(self._names(view.key), Coming(brief(view), view.running))
        return shown

    def commands(self) -> Iterator[SystemCommand]:
        """Yield what the palette offers: to stop each job."""
        from tui.screens.fetch.words import WORK

        for view in self.running:
            title = escape(clean_line(view.spec.title))
            words = WORK.get(view.spec.kind)
            text, after = (
                (words.stop, words.after) if words else (N_("Stop fetching {title}"), N_("What is here stays"))
            )
            yield SystemCommand(_(text).format(title=title), _(after), lambda key=view.key: self.stop(key))

    # Looking.

    async def look(self) -> None:
        """See what has become of all fetches, and tell what has ended."""
        if self._looking or self._starting:
            return
        self._looking, began = True, self._began
        try:
            found = await asyncio.to_thread(_survey)
        finally:
            self._looking = False
        if began != self._began:
            return  # One has begun meanwhile that was not seen there.
        before, self._views = self._views, {view.key: view for view in found}
        for view in found:
            if view.running and view.progress.bytes_per_s:
                self._rates[view.key] = view.progress.bytes_per_s
        if before is None:
            for view in await asyncio.to_thread(_untold, found):
                self._tell(view)
        else:
            for view in _ended(before, self._views):
                await asyncio.to_thread(_note, view, self._rates.pop(view.key, None))
                if view.state == "done" and self.made is not None and view.spec.kind == MADE:
                    await self.made()
                self._tell(view)
        self._load_what_is_wished()
        if self._timer is not None:
            (self._timer.resume if self.running else self._timer.pause)()
        if before != self._views or self._screen.app.screen is not self._screen:
            self.show()

    def show(self) -> None:
        """Show what is on its way: in the lines of the chat, or under what stands above it."""
        from tui.screens.fetch.words import line_forms

        self.forms = line_forms(self.running)
        top = self._screen.app.screen
        if top is self._screen:
            self._changed()
        else:
            show_over(top, self.forms)

    # What is wished.

    async def begin(self, entry: PresetEntry, backend: str, *, explicit: bool = False, force: bool = False) -> None:
        """Begin to fetch the model of a preset, and load it when it is here. Raises Problem."""
        from backends.jobs import launch
        from presets.pulling import job_for

        source = wanted_of(entry, backend)
        if source is None:
            return
        spec = job_for(source, entry.preset.title, force=force)
        # It may be done before it is known here: who looked meanwhile would tell of it without knowing what is wished.
        self._began += 1
        self._starting += 1
        try:
            view = await asyncio.to_thread(launch.start, spec)
        except OSError as error:
            raise Problem(
                "The state folder cannot be used", str(error), "`deepseek-tui doctor` looks at it."
            ) from error
        finally:
            self._starting -= 1
        self._views = {**(self._views or {}), view.key: view}
        self.wish(view.key, entry.name, backend, explicit=explicit)
        if self._timer is not None:
            self._timer.resume()
        self.show()

    def wish(self, key: str, preset: str, backend: str | None, *, explicit: bool = True) -> None:
        """Have a preset loaded when the fetch `key` is done; the last wish counts."""
        self._wishes = {key: Wish(preset, backend, explicit, self._said())}

    def forget_wishes(self) -> None:
        """Load nothing by itself: the user has chosen something else."""
        self._wishes = {}

    def stop(self, key: str) -> None:
        """Ask a fetch to end. What is here stays."""
        from backends.jobs import launch

        async def ask() -> None:
            await asyncio.to_thread(launch.stop, key, wait_s=0.0)
            await self.look()

        self._screen.run_worker(ask(), group="stop-fetch", exit_on_error=False)

    def _load_what_is_wished(self) -> None:
        session = self._session
        for key, wish in list(self._wishes.items()):
            view = (self._views or {}).get(key)
            if session is None or view is None or view.running:
                continue
            if view.state == "done" and session.busy:
                continue
            del self._wishes[key]
            if view.state == "done" and (wish.explicit or wish.said == self._said()):
                self._choose(wish.preset, wish.backend)

    def _said(self) -> tuple[str, int]:
        session = self._session
        if session is None or session.conversation is None:
            return "", 0
        return session.conversation.id, len(session.branch)

    # Telling.

    def _tell(self, view: JobView) -> None:
        if self._shown is None:
            return
        names = self._names(view.key)
        entry = next((found for name in names if (found := self._presets().entry(name))), None)
        key = keys.slot(entry.preset.slot) if entry is not None else ""
        wish = self._wishes.get(view.key)
        loads = ""
        if wish is not None and (wish.explicit or wish.said == self._said()):
            busy = self._session is not None and self._session.busy
            loads = _("It loads when the answer is done") if busy else _("It loads now")
        if view.spec.kind in {MADE, MEASURED}:
            self._shown.notice(notices.work_entry(view, key, loads, preset=entry.name if entry is not None else ""))
        else:
            self._shown.notice(notices.fetch_entry(view, key, loads, preset=entry is not None))

    def _names(self, key: str) -> list[str]:
        """Return which presets use the model of a fetch."""
        from presets.pulling import keys

        presets = self._presets()
        if self._keys[0] is not presets:
            users: dict[str, list[str]] = {}
            for entry in presets.entries:
                for one in keys(entry):
                    users.setdefault(one, []).append(entry.name)
            self._keys = presets, users
        return self._keys[1].get(key, [])


def _survey() -> list[JobView]:
    from backends.jobs import launch
    from presets.pulling import KINDS
    from tui.screens.fetch.words import WORK

    launch.reap()
    found = [view for view in launch.survey() if view.spec.kind in KINDS or view.spec.kind in WORK]
    if found:
        import backends.ollama.wanted  # noqa: F401 - whose model each is will be asked in the event loop
    return found


def _ended(before: Mapping[str, JobView], now: Mapping[str, JobView]) -> Iterator[JobView]:
    """Yield the fetches that have ended since; one that was forgotten meanwhile is told by its file."""
    for key, view in now.items():
        old = before.get(key)
        new = old is None or old.running or old.progress.started_at != view.progress.started_at
        if new and not view.running:
            yield view
    for key in before.keys() - now.keys():
        if before[key].running:
            there = Path(before[key].spec.target).exists()
            yield msgspec.structs.replace(before[key], state="done" if there else "interrupted", pid=None)


def _untold(found: list[JobView]) -> list[JobView]:
    """Return the fetches that ended while no screen was there to tell it, and note that they are told now."""
    from backends import remembered
    from backends.hub.wanted import KIND

    def removed(view: JobView) -> bool:
        makes = view.spec.kind in {KIND, MADE}
        return view.state == "done" and makes and not Path(view.spec.target).exists()

    ended = [view for view in found if not view.running and not removed(view)]
    untold = [view for view in ended if remembered.read("fetch_told", view.key) != view.progress.updated_at]
    for view in untold:
        _note(view, None)
    return untold


def _note(view: JobView, rate: float | None) -> None:
    """Remember that a fetch was told, and how fast it was."""
    from backends import remembered
    from backends.hub.address import endpoint
    from backends.hub.wanted import KIND

    remembered.write("fetch_told", view.key, view.progress.updated_at)
    if view.state == "done" and rate and view.spec.kind == KIND:
        with contextlib.suppress(Problem):
            remembered.write("fetch_rate", endpoint(), round(rate))


def last_rate() -> float | None:
    """Return the bytes a second that the last fetch from the same server reached; None if there was none."""
    from backends import remembered
    from backends.hub.address import endpoint

    try:
        rate = remembered.read("fetch_rate", endpoint())
    except Problem:
        return None
    return float(rate) if isinstance(rate, int | float) and rate > 0 else None
