"""What is typed: kept for its chat, sent or queued, an earlier question edited. None of it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer

from backends.errors import Problem
from tui.chat import drafts
from tui.chat.asked import Question
from tui.chat.drafts import Draft
from tui.chat.history import last_question
from tui.chat.session import Session
from tui.chat.storing.stored import StoredMessage
from tui.keys import filled
from tui.screens.chat import progress
from tui.screens.chat.above import EDITING, told_next
from tui.screens.chat.choosing import Presets
from tui.screens.chat.offering import Asked
from tui.screens.chat.recalling import Recalling
from tui.settings import Settings
from tui.widgets.composer import Composer
from tui.words import _

if TYPE_CHECKING:
    from tui.screens.chat.completing import Completing
    from tui.screens.chat.meant import Meant

KEEP_S = 0.5
_DIM = "dim $foreground"


class Typing:
    """Has what is typed on `screen` asked and kept.

    `presets` are those that commands may name. `sent` is called when something was asked, with whether that was anew
    beside an earlier question, `nothing` when Enter is pressed on nothing, `scroll` with a key that moves the
    conversation.
    """

    def __init__(
        self,
        screen: Screen[None],
        session: Callable[[], Session | None],
        presets: Callable[[], Presets],
        sent: Callable[[Session, bool], None],
        nothing: Callable[[], None],
        scroll: Callable[[str], None],
        asked: Asked,
    ) -> None:
        self._screen = screen
        self._session = session
        self._was_sent = sent
        self._nothing = nothing
        self._scroll = scroll
        self._asked = asked
        self._presets = presets
        self._composer: Composer
        self._more: tuple[Meant, Completing] | None = None
        self._recalling: Recalling
        self._editor = ""
        self._begun = False
        self._early = False
        self._chat: str | None = None
        self._editing: StoredMessage | None = None
        self._before = ""
        self._queued: tuple[str, ...] = ()
        self._under_way = self._note = ""
        self._kept = Draft()
        self._keeping: Timer | None = None
        self._writing, self._one_by_one = asyncio.Lock(), asyncio.Lock()
        self._unkept = False

    # The chat whose draft this is.

    def start(self) -> None:
        """Take notice of what is typed, from the beginning."""
        composer = self._composer = self._screen.query_one(Composer)
        self._recalling = Recalling(composer, self._session, self._asked.failed, history=False)
        composer.changed, composer.left = self._changed, drafts.flush

    async def begin(self, settings: Settings) -> None:
        """Show the draft of the chat that is open now, and send what was to be sent as soon as that can be done."""
        typed = self._composer.text
        self._recalling = Recalling(self._composer, self._session, self._asked.failed, history=settings.history)
        self._editor = settings.editor
        self._begun = True
        await self._turn_to(self._shown_chat)
        if self._early:
            self._composer.put(typed)
            self._composer.send()

    async def look(self) -> None:
        """Take in what the session shows now: another chat with its own draft, or the end of the answer."""
        session = self._session()
        if session is None or not self._begun:
            return
        async with self._one_by_one:
            if self._shown_chat != self._chat:
                await self._turn_to(self._shown_chat)
            if self._editing is not None and all(message.id != self._editing.id for message in session.branch):
                self.leave()
            await self._next(session)

    async def _turn_to(self, chat: str | None) -> None:
        """Put away the draft of one chat, and take out that of another; what is typed meanwhile stays behind it."""
        composer, old = self._composer, self._chat
        if old != chat:
            put_away = self._now()
            drafts.waiting()  # What waits is this one.
            self._chat = chat
            self._editing, self._before, self._queued = None, "", ()
            self._recalling.end()
            composer.put("")
            if chat is None and put_away.text and await self._is_gone(old):
                composer.put(put_away.text)  # Deleted elsewhere, for good; what is typed here was not.
            elif not _same(put_away, self._kept):
                await self._save(old, put_away)
        draft = await asyncio.to_thread(drafts.load, chat)
        if chat != self._chat:
            return
        self._kept = draft
        since = composer.text
        text = "\n\n".join(part for part in (*draft.queued, draft.text) if part)
        session = self._session()
        edited = next((one for one in session.branch if one.id == draft.editing), None) if session else None
        if edited is not None:
            self._editing, self._before = edited, draft.before
        elif draft.before:  # The question that was edited is not shown any more.
            text = "\n\n".join(part for part in (draft.before, text) if part)
        if text or edited is not None:
            composer.put(f"{text}\n{since}" if since else text, None if since or draft.queued else draft.cursor)
        if draft.queued:
            self._asked.say(_("The question that was next was not sent: it is here again"))
        self._show()

    async def _is_gone(self, chat: str | None) -> bool:
        session, query = self._session(), "SELECT 1 FROM conversation WHERE id = ?"
        try:
            return session is not None and not await asyncio.to_thread(session.store.rows, query, chat)
        except Problem:
            return False

    @property
    def _shown_chat(self) -> str | None:
        session = self._session()
        return session.conversation.id if session is not None and session.conversation is not None else None

    # What is typed is kept.

    def _now(self) -> Draft:
        """Return the draft as it is."""
        composer = self._composer
        typed = self._recalling.typed(composer.text)
        text = "\n".join(part for part in (self._under_way, typed) if part)
        editing = self._editing.id if self._editing is not None else ""
        return Draft(text, composer.cursor_location, self._queued, editing, self._before, drafts.moment())

    def _changed(self) -> None:
        line = self._composer.document.get_line(self._composer.cursor_location[0])
        if self._more is not None or _means_more(line):
            self._with_more()[1].look()
        if self._begun:
            drafts.later(self._chat, self._now)
            if self._keeping is None:
                self._keeping = self._screen.set_timer(KEEP_S, self._keep)

    def _keep(self) -> None:
        self._keeping = None
        self._screen.run_worker(self._look_at_files(), group="files")
        for chat, draft in drafts.waiting():
            if not _same(draft, self._kept):
                self._screen.run_worker(self._save(chat, draft), group="draft")

    async def _save(self, chat: str | None, draft: Draft) -> bool:
        """Keep a draft; say whether that was done. What fails is told once."""
        try:
            async with self._writing:
                await asyncio.to_thread(drafts.save, chat, draft)
        except Problem as problem:
            if not self._unkept:
                self._asked.failed(problem)
            self._unkept = True
            return False
        self._unkept = False
        if chat == self._chat:
            self._kept = draft
        return True

    # Commands and files.

    def _with_more(self) -> tuple[Meant, Completing]:
        """Return what reads commands and names of files in what is typed."""
        if self._more is None:
            from tui.screens.chat.completing import Completing  # Not before somebody types one.
            from tui.screens.chat.meant import Meant
            from tui.screens.chat.slashes import Slashes

            slashes = Slashes(self._screen, self._session, self._presets, self._asked)
            composer = self._composer
            self._more = (
                Meant(composer, slashes, self._asked), Completing(self._screen, composer, slashes, self._show),
            )  # fmt: skip
        return self._more

    # A question edited.

    def edit(self, question: StoredMessage) -> None:
        """Have a question edited; what was being typed comes back after it."""
        composer = self._composer
        if self._editing is None:
            self._before = composer.text
        self._editing = question
        self._recalling.end()
        composer.put(question.text)
        composer.focus()
        self._show()

    def leave(self) -> bool:
        """Leave the question as it is, and bring back what was being typed; say whether one was being edited."""
        if self._editing is None:
            return False
        before, self._editing, self._before = self._before, None, ""
        self._recalling.end()
        self._composer.put(before)
        self._show()
        return True

    # What the composer says.

    async def do(self, event: Composer.Did) -> None:
        """Do what is asked for in the composer."""
        match event.what:
            case "send":
                async with self._one_by_one:
                    await self._sent(event.text)
            case "nothing" if not self._composer.text:  # What was sent just before may be back.
                self._nothing()
            case "scroll":
                self._scroll(event.text)
            case "editor" if self._begun:
                from tui.screens.chat.outside import Outside  # Not before somebody wants an editor.

                Outside(self._screen, self._composer, lambda: self._chat, self._asked, self._editor).open()
            case "complete":
                self._with_more()[1].take()
            case "older":
                await self._recalling.go(-1)
            case "newer":
                await self._recalling.go(1)

    async def _sent(self, text: str) -> None:
        """Ask what was typed, or keep it for the end of the answer that runs. What cannot be sent stays."""
        session = self._session()
        if session is None or not self._begun:
            self._early = not self._begun
            self._composer.give_back(text)
            told = _("Nothing was sent. Your text stays here") if self._begun else ""
            self._asked.say(told or _("Starting: it is sent in a moment"))
        elif _means_more(text) and not await self._with_more()[0].is_said(text):
            pass
        elif not session.busy:
            await self._ask(session, text)
        elif self._editing is not None or progress.unsaved(session):
            self._composer.give_back(text)
            self._asked.say(progress.not_yet(session))
        else:
            await self._queue(text)

    async def _ask(self, session: Session, text: str) -> bool:
        """Ask anew beside an edited question, else at the end; say whether that was done."""
        self._under_way, running = text, session.answering
        anew = self._editing is not None
        try:
            whole = await self._with_more()[0].whole(text) if _means_more(text) else text
            if self._editing is not None:
                await session.edit(self._editing.id, whole)
            else:
                await session.send(whole)
            done = session.answering is not None and session.answering is not running
        except Problem as problem:
            self._asked.failed(problem)
            done = False
        self._under_way = ""
        if self._more is not None:
            self._more[0].forget(text)
        self._recalling.end()
        if not done:
            self._composer.give_back(text)
            return False
        question = last_question(session.branch)
        drafts.waiting()  # It is of the chat before, and kept here.
        old, self._chat = self._chat, self._shown_chat
        if anew:
            since = self._composer.text
            self.leave()
            if since:
                self._composer.give_back(since)
        if old != self._chat:
            await self._save(old, Draft(at=drafts.moment()))
        await self._save(self._chat, self._now())
        self._was_sent(session, anew)
        self._asked.say("")
        if question is not None:
            await self._recalling.add(Question(text, question.conversation, question.id))
        return True

    # The next question.

    async def _queue(self, text: str) -> None:
        """Keep a question for the end of the answer; it is on the disk before that is said."""
        before = self._queued
        self._queued = (*before, text)
        if not await self._save(self._chat, self._now()):
            self._queued = before
            self._composer.give_back(text)
        self._show()
        session = self._session()
        if session is not None:
            await self._next(session)  # The answer may have ended meanwhile.

    async def _next(self, session: Session) -> None:
        """Ask what was queued once the answer has ended well; after any other end it is typed again."""
        if not self._queued or session.busy:
            return
        last = session.branch[-1] if session.branch else None
        if last is not None and last.role == "assistant" and last.state == "done" and last.reason == "stop":
            text, self._queued = self._queued[0], self._queued[1:]
            if not await self._ask(session, text):
                self._give_all_back()
        elif last is None or last.state != "streaming":  # One that is, is being left by this screen.
            self._give_all_back()
        self._show()

    def _give_all_back(self) -> None:
        for text in reversed(self._queued):
            self._composer.give_back(text)
        self._queued = ()

    def take_back(self) -> bool:
        """Have what was queued last typed again; say whether there was anything."""
        if not self._queued:
            return False
        text, self._queued = self._queued[-1], self._queued[:-1]
        self._composer.give_back(text)
        self._show()
        return True

    @property
    def last_words(self) -> str:
        """What is to be said of a queued question to one who leaves, "" if there is none."""
        return _("The question that was next stays as a draft.") if self._queued else ""

    # The line above.

    def _show(self) -> None:
        """Say above the composer what becomes of what is typed in it."""
        offered = self._more[1].told(self._composer.size.width - 4) if self._more is not None else ""
        if offered or self._note:
            title = Content.styled(offered or self._note, "$text-accent" if offered else _DIM)
        elif self._editing is not None:
            title = Content(filled(_(EDITING)))
        else:
            title = (
                Content.styled(told_next(self._queued, self._composer.size.width), _DIM)
                if self._queued
                else Content("")
            )
        box = self._screen.query_one("#composer-box", Horizontal)
        if box.border_title != title.markup:
            box.border_title = title

    async def _look_at_files(self) -> None:
        text = self._composer.text
        note = await self._with_more()[0].note(text) if "@" in text else ""
        if note != self._note and text == self._composer.text:
            self._note = note
            self._show()


def _means_more(text: str) -> bool:
    """Say whether a text may be a command, or name a file."""
    return text.lstrip().startswith("/") or "@" in text


def _same(one: Draft, other: Draft) -> bool:
    """Say whether two drafts are one, whenever they were written."""
    return msgspec.structs.replace(one, at=other.at) == other
