"""What is asked, and what is done with a message: asked or answered anew, walked from, deleted, exported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from textual.app import SystemCommand
from textual.screen import Screen

from backends.errors import Problem
from backends.shown import shown_path
from tui.chat import turn
from tui.chat.session import Session
from tui.chat.storing import opened
from tui.chat.storing.stored import StoredMessage
from tui.keys import filled
from tui.screens.chat import notices, progress
from tui.screens.chat.offering import Asked
from tui.screens.chat.shown import Shown
from tui.screens.chat.typing import Typing
from tui.screens.chat.undoing import Deleted, Undoing
from tui.widgets.transcript import Transcript
from tui.widgets.transcript.keys import Work
from tui.words import N_, _

_COMMANDS: tuple[tuple[str, str, Work], ...] = (
    (N_("Edit the question …"), N_("{messages.edit} in the messages: asked anew, beside the old one"), "edit"),
    (N_("Show the version before"), N_("{messages.before} in the messages"), "before"),
    (N_("Show the version after"), N_("{messages.after} in the messages"), "after"),
    (
        N_("Delete the message and what is below it"),
        N_("{messages.delete} in the messages; {messages.undo} takes it back"),
        "delete",
    ),
    (N_("Export the chat as Markdown"), N_("{messages.export} in the messages"), "export"),
)


class Messages:
    """Works for the transcript of `screen`.

    `show` shows the branch in what `shown` gives, `asked` is what else the screen does for it, and `typing` has
    what is typed.
    """

    def __init__(
        self,
        screen: Screen[None],
        session: Callable[[], Session | None],
        show: Callable[[Session], None],
        shown: Callable[[], Shown],
        undoing: Undoing,
        asked: Asked,
        typing: Callable[[], Typing],
    ) -> None:
        self._screen = screen
        self._session = session
        self._show = show
        self._shown_now = shown
        self._undoing = undoing
        self._asked = asked
        self._typing_now = typing

    def commands(self) -> Iterator[SystemCommand]:
        """Yield what the palette offers: it is about the message stood on, or the last one."""
        for title, told, what in _COMMANDS:
            yield SystemCommand(_(title), filled(_(told)), lambda what=what: self._screen.call_later(self.do, what))

    async def do(self, what: Work) -> None:
        """Do something with the message that the reader stands on, or with the last one."""
        session = self._session()
        if session is None:
            return
        self._asked.say("")
        try:
            if what == "undo":
                await self._take_back(session)
            elif session.conversation is None or not session.branch:
                self._asked.say(_("There is no message yet"))
            else:
                await self._do(session, what)
        except Problem as problem:
            self._asked.failed(problem)

    async def _do(self, session: Session, what: Work) -> None:
        stood = self._transcript.stood
        at = next((message for message in session.branch if message.id == stood), session.branch[-1])
        match what:
            case "edit":
                self._edit(session, at)
            case "retry" if session.busy:
                self._asked.say(progress.not_yet(session))
            case "retry":
                await session.retry(at.id)
                self._to_end(session)
            case "before" | "after":
                await self._walk(session, at, 1 if what == "after" else -1)
            case "delete":
                await self._delete(session, at)
            case "export":
                await self._export(session)

    def _edit(self, session: Session, at: StoredMessage) -> None:
        question = opened.question_of(session.branch, at.id)
        if question is None:
            self._asked.say(_("There is no question to edit"))
        else:
            self._typing.edit(question)

    def sent(self, session: Session, anew: bool) -> None:
        """Have the conversation go on: something was asked, `anew` beside an earlier question."""
        if anew:
            self._to_end(session)
        self._undoing.forget()
        self._transcript.forget_found()
        self._shown.forget_notices()

    async def stop(self) -> None:
        """Take back what is queued, stop what runs, leave what is edited, or take the marks of a search away."""
        session = self._session()
        if self._typing.take_back():
            self._asked.say("")
        elif session is not None and session.busy:
            self._asked.say(progress.unsaved(session))
            await session.stop()
        elif self._typing.leave():
            self._asked.say("")
        elif session is not None and session.loading:
            self._asked.say("")
            await session.stop()
        else:
            self._transcript.forget_found()
            self._asked.say(filled(_("Nothing is running. {program.quit} leaves")))

    # The rest.

    async def _walk(self, session: Session, at: StoredMessage, step: int) -> None:
        if at.id not in session.versions:
            self._asked.say(filled(_("One version: {messages.edit} edits, {messages.retry} answers again")))
            return
        if session.busy and turn.on_the_way():  # Who leaves now leaves a question that no model has.
            self._asked.say(progress.not_yet(session))
            return
        there = await session.walk(at.id, step)
        if there == at.id:
            self._asked.say(_("This is the last version") if step > 0 else _("This is the first version"))
        else:
            self._show(session)
            self._transcript.stand(there)

    async def _delete(self, session: Session, at: StoredMessage) -> None:
        place = session.branch.index(at)
        head = await session.throw_away(at.id)
        self._undoing.note(Deleted(at.conversation, at.text or at.reasoning, at.id, head))
        self._show(session)
        if session.branch:  # On the version that is there now, or on what was above.
            self._transcript.stand(session.branch[min(place, len(session.branch) - 1)].id)

    async def _take_back(self, session: Session) -> None:
        back = await self._undoing.take_back(session)
        self._asked.say(_("It is back") if back is not None else _("Nothing was deleted here"))
        if back is not None and back.message is not None:
            self._show(session)
            self._transcript.stand(back.message)

    async def _export(self, session: Session) -> None:
        if session.conversation is not None:
            from tui.chat.exporting import export_here  # Not before somebody exports.

            chat, places = session.conversation.id, tuple(export_here.folders())
            path = await asyncio.to_thread(export_here.export_here, session.store, chat, places)
            self._shown.notice(notices.exported_entry(shown_path(path)))

    def _to_end(self, session: Session) -> None:
        self._show(session)
        self._transcript.action_end()

    @property
    def _shown(self) -> Shown:
        return self._shown_now()

    @property
    def _transcript(self) -> Transcript:
        return self._screen.query_one(Transcript)

    @property
    def _typing(self) -> Typing:
        return self._typing_now()
