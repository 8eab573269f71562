"""The chat screen: composer → session → transcript and lines. It holds widgets and what they show, nothing said."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.events import DescendantFocus, Resize, ScreenResume
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

from backends.errors import Problem
from presets.catalog import Catalog
from tui.chat.session import Change, Session
from tui.keys.bindings import bindings
from tui.line import pacing, profile
from tui.screens.chat import entries, layout, notices, palette, progress, start
from tui.screens.chat.around import Around
from tui.screens.chat.choices import Choices
from tui.screens.chat.choosing import Presets
from tui.screens.chat.copying import COPIES, Copying
from tui.screens.chat.editing import Editing
from tui.screens.chat.ending import Ending
from tui.screens.chat.explaining import SETTLE_S, Explaining
from tui.screens.chat.fetching import Fetching
from tui.screens.chat.finding import Finding, look_after
from tui.screens.chat.first import FirstStart
from tui.screens.chat.leaving import Leaving
from tui.screens.chat.mending import Mending
from tui.screens.chat.messages import Messages
from tui.screens.chat.offering import Asked, Offering
from tui.screens.chat.planning import Planning
from tui.screens.chat.shelving import Shelving
from tui.screens.chat.shown import Shown
from tui.screens.chat.switching import Switching
from tui.screens.chat.typing import Typing
from tui.screens.chat.undoing import Undoing
from tui.screens.chat.wishing import Wishing
from tui.widgets.chat_list import ChatList
from tui.widgets.composer import Composer
from tui.widgets.sidebar import PresetList
from tui.widgets.transcript import Transcript

LINES_EVERY = 5
REFRESH_S = 2.0
QUIET_LOOKS, SELDOM = 10, 3
"""After so many looks around that found nothing, only each third is made: a screen left alone wakes few."""


class ChatScreen(Screen[None]):
    """One session, shown. `wish` is what the command line asked for."""

    CSS_PATH = "chat.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("everywhere")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - Textual declares it so
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (9, "-short"), (16, "-tall")]  # noqa: RUF012 - likewise
    AUTO_FOCUS = "#composer"

    class SessionChanged(Message):
        """Something in the session is another than before; `answer` changes come by the timer instead."""

        def __init__(self, change: Change) -> None:
            super().__init__()
            self.change = change

    def __init__(self, wish: start.Wish) -> None:
        super().__init__()
        self._wish = wish
        self._session: Session | None = None
        self._presets = Presets(Catalog((), ()))
        self._ticks = self._quiet = 0
        self._ticking: Timer | None = None
        self._typing: Typing
        self._explaining = Explaining(self, lambda: self._presets)
        self._ending = Ending(self)
        self._around = Around(self, self._show_lines)
        self._say = self._around.say
        presets, session = lambda: self._presets, lambda: self._session
        self._planning = Planning(self, self._explaining, presets, self._choose, self._say)
        self._leaving = Leaving(self, session, self._end, self._show_lines, lambda: self._typing.last_words)
        self._fetching = Fetching(self, presets, self._choose, self._show_fetches)
        self._planning.coming = self._fetching.coming
        self._fetching.made = self._reload
        asked = Asked(self._choose, self._reload, self._failed, self._say)
        self._offering = Offering(self, presets, self._fetching, self._planning, asked)
        self._switching = Switching(session, presets, self._offering, self._fetching, self._failed, self._say)
        self._editing = Editing(self, presets, session, self._planning, asked)
        self._first = FirstStart(self, presets, self._fetching, self._offering, self._planning)
        self._undoing = Undoing()
        self._shelving = Shelving(self, session, self._undoing, asked)
        typing, shown = lambda: self._typing, lambda: self._shown
        self._messages = Messages(self, session, self._show_branch, shown, self._undoing, asked, typing)
        self._typing = Typing(self, session, presets, self._messages.sent, self._first.take, self._move, asked)
        self._copying = Copying(self, session, asked)
        self._wishing = Wishing(self, session, presets, self._planning, self._say)
        self._finding = Finding(self, self._show_branch, self._failed)

    # What there is.

    def compose(self) -> ComposeResult:
        yield from layout.widgets()

    def on_mount(self) -> None:
        self._shown = Shown(self.query_one(Transcript))
        self._choices = Choices(self, self._shown.problem)
        self._mending = Mending(self, self._say, self._shown.problem, self._offering.offer)
        self._ticking = self.set_interval(1 / profile.current().feed_hz, self._tick, pause=True)
        self._typing.start()
        self._show_lines()
        self.call_after_refresh(lambda: self.run_worker(self._start(), group="start", exclusive=True))

    async def _start(self) -> None:
        """Open the store and the catalogue, show the chat, and load the model."""
        self._explaining.start()
        begun = await start.begin(self._wish, self._heard)
        self._presets, self._session = Presets(begun.catalog, begun.settings.keep_alive_s), begun.session
        await self._first.begin(begun, self._shown)
        for problem in (*begun.problems, *begun.catalog.problems):
            self._shown.problem(problem)
        self._planning.start(begun.session, self._shown)
        self._fetching.start(begun.session, self._shown)
        if begun.session is not None:
            await self._refresh_lists()
            if begun.chat is not None:
                await begun.session.open(begun.chat)
            if begun.target is not None:
                begun.session.choose(begun.target, evict="none")
            self.set_interval(REFRESH_S, self._look_around)
            self.run_worker(look_after(begun.session.store), group="upkeep")
        gc.freeze()  # What was loaded stays: to look through it for garbage again and again holds up every key.
        self._planning.look()
        await self._fetching.look()
        self._show_lines()
        if begun.missing:
            self._offering.offer(begun.missing, self._wish.backend)
        await self._typing.begin(begun.settings)

    # The session speaks.

    def _heard(self, change: Change) -> None:
        if change == "answer":
            if self._ticking is not None:
                self._ticking.resume()
        else:
            self.post_message(self.SessionChanged(change))

    async def on_chat_screen_session_changed(self, event: SessionChanged) -> None:
        session = self._session
        if session is None:
            return
        self._planning.take(session)
        match event.change:
            case "branch":
                self._show_branch(session)
                self._explaining.add_up(session, self._show_lines)
                await self._refresh_lists()
            case "problem" if session.problem is not None:
                self._shown.problem(session.problem)
            case "failure":
                self.run_worker(self._mending.after(session), group="mending")
            case "model":
                self._explaining.take(session)
                self._planning.show()
                self._show_branch(session)
                self._shown.notes(session)
            case "note" if session.running.note:
                self._shown.notice(notices.engine_entry(session.running.note))
            case "strain":
                self.run_worker(self._shown.strained(session), group="strain")
            case "overflow":
                self._choices.show(session)
        await self._typing.look()
        if (session.busy or session.loading) and self._ticking is not None:
            self._ticking.resume()
        self._show_lines()

    @on(ScreenResume)
    def _tick(self) -> None:
        session = self._session
        if session is None or self._ticking is None or (session.busy and not pacing.ready()):
            return
        self._ticks += 1
        if self.is_active and session.answer is not None and session.answering is not None:
            titles, key = self._presets.titles, entries.thought_key(session)
            version = entries.version(session, session.answering)
            self._shown.put(entries.live_entry(session.answering, session.answer, titles, key, version))
        if self._ticks % LINES_EVERY == 0:
            self._explaining.take(session)
        if self._ticks % LINES_EVERY == 0 or session.loading:
            self._show_lines()
        if not session.busy and not session.loading:
            self._ticking.pause()
            self._settle(session)
            self.set_timer(SETTLE_S, partial(self._settle, session))

    def _settle(self, session: Session) -> None:
        """Show what is true once nothing happens any more; the driver's last word comes a moment later."""
        self._explaining.take(session)
        self._planning.show()
        self._show_lines()

    async def _look_around(self) -> None:
        """Take in what other screens, `ask`s and fetches have written."""
        self._quiet += 1
        if self._quiet > QUIET_LOOKS and self._quiet % SELDOM:
            return
        await self._fetching.look()
        if self._session is not None:
            self._planning.look()
            if self._session.busy or self._session.loading or self._fetching.running:
                self._quiet = 0
            try:
                if await self._session.refresh():
                    self._quiet = 0
                    await self._refresh_lists()
                if self._explaining.check(self._session):
                    self._show_lines()
            except Problem as problem:
                self._shown.problem(problem)

    # The transcript.

    def _show_branch(self, session: Session) -> None:
        shown = entries.entries(session, self._presets.titles)
        self._shown.branch(session.conversation.id if session.conversation else None, shown)

    def _failed(self, problem: Problem) -> None:
        self._shown.problem(problem)

    async def on_transcript_worked(self, event: Transcript.Worked) -> None:
        await (self._copying if event.what in COPIES else self._messages).do(event.what)
        self._show_lines()

    def _move(self, key: str) -> None:
        self.query_one(Transcript).move(key)

    def on_transcript_more(self, event: Transcript.More) -> None:
        self._around.more(below=event.below)

    # The lines and lists.

    @on(ScreenResume)
    def _show_presets(self) -> None:
        self._planning.show()

    @on(ScreenResume)
    @on(Resize)
    @on(DescendantFocus)
    def _show_lines(self) -> None:
        self._ending.look(self._session)
        if self.is_active:  # What changes under another screen has that one painted anew, all of it.
            seen = self._explaining.seen(self._session)
            deleted = self._undoing.words(typing=isinstance(self.focused, Composer))
            self._around.show(self._session, seen, self._fetching.forms, deleted, leaving=self._leaving.under_way)

    def _show_fetches(self) -> None:
        self._show_lines()
        self._planning.show()
        self._first.advise()

    async def _refresh_lists(self) -> None:
        session = self._session
        if session is None:
            return
        self._planning.show()
        await self._shelving.show()

    # The user speaks.

    async def on_composer_did(self, event: Composer.Did) -> None:
        await self._typing.do(event)

    async def on_chat_list_opened(self, event: ChatList.Opened) -> None:
        if self._session is not None:
            await self._tried(self._session.open(event.conversation))
            await self._typing.look()
            self.query_one(Composer).focus()

    def on_chat_list_worked(self, event: ChatList.Worked) -> None:
        self._shelving.do(event.what, event.conversation)

    def on_chat_list_near(self, event: ChatList.Near) -> None:
        self._shelving.near(event.step)

    def on_chat_list_folded(self) -> None:
        self._shelving.fold()

    def on_preset_list_chosen(self, event: PresetList.Chosen) -> None:
        self._choose(event.name)
        self.query_one(Composer).focus()

    def on_preset_list_worked(self, event: PresetList.Worked) -> None:
        self._editing.do(event.what, event.name)

    def action_preset(self, slot: int) -> None:
        self._switching.slot(slot)

    def action_next_backend(self) -> None:
        work = self._switching.next_backend(self._mending, self._shown)
        self.run_worker(work, group="switch", exclusive=True)

    def _choose(self, name: str, backend: str | None = None) -> None:
        self._switching.choose(name, backend)

    async def _reload(self) -> None:
        """Read the presets anew: a file of theirs has changed."""
        self._presets = await asyncio.to_thread(self._presets.again)
        self._planning.start(self._session, self._shown)
        self._planning.look()

    async def action_stop(self) -> None:
        await self._messages.stop()

    async def action_copy_selection(self) -> None:
        if not self._copying.selection():
            await self._messages.stop()

    async def action_retry(self) -> None:
        if self._session is not None and not self._session.busy:
            await self._tried(self._session.retry())

    async def action_resume(self) -> None:
        if self._session is not None and not self._session.busy:
            await self._tried(self._session.resume())

    async def action_answer_now(self) -> None:
        session = self._session
        if session is not None and not session.running.hurried and not await session.answer_now():
            self._say(progress.no_thought(session))
        self._tick()

    async def action_new_chat(self) -> None:
        if self._session is not None:
            await self._session.new()
            await self._typing.look()
            self.query_one(Composer).focus()

    async def action_free(self) -> None:
        if self._session is not None:
            await self._session.unload()

    def action_find(self) -> None:
        if self._session is not None:
            self._finding.open(self._session)

    def action_toggle_thought(self) -> None:
        self.query_one(Transcript).toggle_thought()

    def action_toggle_sidebar(self) -> None:
        self.toggle_class("-sidebar")
        self.call_later(self.run_action, "app.redraw")  # By habit, ^l is what mends a screen that was written over.

    def action_help(self) -> None:
        from tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen())

    def action_figures(self) -> None:
        self._explaining.open(self._session, self._planning.predicted)

    def action_plan(self) -> None:
        self._planning.open()

    def action_asking(self) -> None:
        self._wishing.open()

    def action_usage(self) -> None:
        self._explaining.open_usage(self._session)

    async def action_leave(self) -> None:
        await self._leaving.leave()

    def _end(self) -> None:
        self._explaining.stop()
        self._planning.stop()

    async def _tried(self, work: object) -> None:
        try:
            await work  # type: ignore[misc]
        except Problem as problem:
            self._shown.problem(problem)

    def get_commands(self) -> Iterable[SystemCommand]:
        """Return what the palette offers of this screen."""
        first, last = (self._fetching,), (self._messages, self._copying, self._shelving, self._editing)
        yield from palette.commands(self._presets, self._choose, self._run, first, last)

    def _run(self, action: str) -> None:
        self.call_later(self.run_action, action)
