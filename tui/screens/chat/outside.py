"""What is typed, in an editor outside. The answer goes on meanwhile: it is read, and drawn when the screen is back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence

from textual.app import SuspendNotSupported
from textual.screen import Screen

from backends.errors import Problem
from tui.chat import outside
from tui.screens.chat.offering import Asked
from tui.widgets.composer import Composer
from tui.words import _


class Outside:
    """Opens the text of `composer` in an editor: the one of the settings is `wished` for, "" for none."""

    def __init__(
        self, screen: Screen[None], composer: Composer, chat: Callable[[], str | None], asked: Asked, wished: str
    ) -> None:
        self._screen = screen
        self._composer = composer
        self._chat = chat
        self._asked = asked
        self._wished = wished

    def open(self) -> None:
        """Begin to edit what is typed; it comes back when the editor ends."""
        self._screen.run_worker(self._tried(), group="outside")

    async def _tried(self) -> None:
        try:
            await self._open()
        except Problem as problem:
            self._asked.failed(problem)
        self._composer.focus()

    async def _open(self) -> None:
        before = self._composer.text
        command = outside.editor(self._wished, os.environ)
        lent = await asyncio.to_thread(outside.lend, self._chat(), before)
        kept = False
        try:
            ended = await self._edited(command, str(lent.path))
            after = await asyncio.to_thread(outside.take, lent)
        except Problem:
            kept = True
            raise
        finally:
            outside.close(lent, kept=kept)
        back = outside.back(before, after, ended)
        if back.said:
            self._asked.say(back.said)
        if back.text != before:
            now = self._composer.text  # A queued question may have come back meanwhile.
            self._composer.put(now.replace(before, back.text, 1) if before and before in now else back.text + now)

    async def _edited(self, command: Sequence[str], path: str) -> int:
        """Have the terminal belong to the editor until it ends; return its exit status. Raises Problem."""
        try:
            with self._screen.app.suspend(), _no_interrupt():
                process = await asyncio.create_subprocess_exec(*command, path)
                return await process.wait()
        except OSError as error:
            raise Problem(_("The editor cannot be started"), f"{command[0]}: {error.strerror}", "") from error
        except SuspendNotSupported:
            raise Problem(_("This terminal cannot be lent to an editor"), "", _("Type here.")) from None


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Have Ctrl+C in the editor end the editor at most: the terminal sends it to both of us."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
