"""What is copied of a chat: a message, a code block of it, all of it, or what is selected. Always the source."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from textual.app import SystemCommand
from textual.screen import Screen
from textual.widgets import TextArea

from backends.errors import Problem
from tui.chat.session import Session
from tui.chat.storing.stored import StoredMessage
from tui.keys import filled
from tui.line import clipboard
from tui.screens.chat.offering import Asked
from tui.widgets.transcript import Transcript
from tui.widgets.transcript.code import code_blocks
from tui.widgets.transcript.keys import Work
from tui.words import N_, _, ngettext

_COMMANDS: tuple[tuple[str, str, Work], ...] = (
    (N_("Copy the message"), N_("{messages.copy} in the messages: the one stood on, or the last"), "copy_message"),
    (N_("Copy its code"), N_("{messages.copy_code} in the messages: block by block"), "copy_code"),
    (N_("Copy the whole chat"), N_("{messages.copy_all} in the messages: this branch as Markdown"), "copy_all"),
)
COPIES: frozenset[Work] = frozenset(what for _title, _told, what in _COMMANDS)


class Copying:
    """Copies for `screen`, of what its `session` shows."""

    def __init__(self, screen: Screen[None], session: Callable[[], Session | None], asked: Asked) -> None:
        self._screen = screen
        self._session = session
        self._asked = asked
        self._last: tuple[str, int] = ("", 0)

    def commands(self) -> Iterator[SystemCommand]:
        """Yield what the palette offers."""
        for title, told, what in _COMMANDS:
            yield SystemCommand(_(title), filled(_(told)), lambda what=what: self._screen.call_later(self.do, what))

    def selection(self) -> bool:
        """Copy what is selected, in the composer or on the screen; say whether anything is.

        What is marked on the screen is so no longer, for the same key stops an answer.
        """
        focused = self._screen.focused
        typed = focused.selected_text if isinstance(focused, TextArea) else ""
        text = typed or self._screen.get_selected_text() or ""
        if not typed:
            self._screen.clear_selection()
        if text:
            self._screen.run_worker(self._copy(text, _("The selection")), group="copying")
        return bool(text)

    async def do(self, what: Work) -> None:
        """Copy something of the message that the reader stands on, or of the last one; or all."""
        session = self._session()
        if session is None or session.conversation is None or not session.branch:
            self._asked.say(_("There is no message yet"))
            return
        stood = self._transcript.stood
        at = next((message for message in session.branch if message.id == stood), session.branch[-1])
        match what:
            case "copy_message":
                await self._copy(_text(session, at), _("The message"))
            case "copy_code":
                await self._code(at.id, _text(session, at))
            case "copy_all":
                try:
                    whole = await asyncio.to_thread(_whole, session, session.conversation.id)
                except Problem as problem:
                    self._asked.failed(problem)
                else:
                    await self._copy(whole, _("The chat"))

    async def _code(self, message: str, text: str) -> None:
        """Copy the code block in view; the next one, if the last thing copied was one of the same message."""
        blocks = code_blocks(text)
        if not blocks:
            self._asked.say(_("There is no code in this message"))
            return
        before, number = self._last
        if before == message:
            number = (number + 1) % len(blocks)
        else:
            number = min(self._transcript.seen_code(message), len(blocks) - 1) if len(blocks) > 1 else 0
        lines = blocks[number].text.count("\n") + 1
        what = ngettext("Code, {count} line", "Code, {count} lines", lines).format(count=lines)
        if len(blocks) > 1:
            what += " " + filled(
                _("({number} of {blocks}, {messages.copy_code} again: the next one)"),
                number=number + 1,
                blocks=len(blocks),
            )
        await self._copy(blocks[number].text, what)
        self._last = message, number

    async def _copy(self, text: str, what: str) -> None:
        self._last = "", 0
        if not text.strip():
            self._asked.say(_("There is nothing to copy"))
            return
        try:
            done = await asyncio.to_thread(clipboard.deliver, text)
        except Problem as problem:
            self._asked.failed(problem)
        else:
            self._asked.say(f"{what}: {done}")

    @property
    def _transcript(self) -> Transcript:
        return self._screen.query_one(Transcript)


def _text(session: Session, message: StoredMessage) -> str:
    """Return a message's text, as far as it has come; its thought where it has said nothing else."""
    answering = session.answering
    if session.answer is not None and answering is not None and answering.id == message.id:
        return session.answer.text or session.answer.reasoning
    return message.text or message.reasoning


def _whole(session: Session, chat: str) -> str:
    from tui.chat.exporting import export, markdown  # Not before somebody copies.

    return markdown.conversation(export.branch(export.gather(session.store, chat)), thoughts=False)
