"""What can be mended at once where a server is in the way: a new one is confirmed, one that is down is started.

One that has not the model can fetch it: that is asked as for any other fetch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from textual.screen import Screen

from backends.errors import ModelNotFound, NewOrigin, Problem, ServerUnreachable
from backends.titles import backend_title
from tui.chat.session import Session
from tui.chat.target import Target
from tui.settings import confirm_origin
from tui.words import _


class Mending:
    """Asks above `screen` before it does anything. `say` tells in passing, `failed` hears of what could not be done.

    `fetch` asks whether a server is to fetch the model of a preset for a backend.
    """

    def __init__(
        self,
        screen: Screen[None],
        say: Callable[[str], None],
        failed: Callable[[Problem], None],
        fetch: Callable[[str, str], object] = lambda *_: None,
    ) -> None:
        self._screen = screen
        self._fetch = fetch
        self._say = say
        self._failed = failed
        self._asking = False

    async def after(self, session: Session) -> None:
        """Offer what helps against the session's last failure, and do again what had failed."""
        failure, target = session.failure, session.target
        if failure is None or target is None or self._asking:
            return
        if failure.kind == NewOrigin.kind:
            mended = await self.confirmed(failure.detail)
        elif failure.kind == ServerUnreachable.kind:
            mended = await self._restarted(target)
        elif failure.kind == ModelNotFound.kind and target.spec.backend == "ollama":
            self._fetch(target.preset, target.spec.backend)
            return
        else:
            return
        if mended and session.target == target and not session.busy:
            try:
                await session.do_again()
            except Problem as problem:
                self._failed(problem)

    async def confirmed(self, origin: str) -> bool:
        """Ask whether conversations may be sent to a server that is new, and write it down; say whether they may."""
        lines = [
            _("Your questions and the answers so far would be sent to {server}.").format(server=origin),
            _("It is asked once for each server. `deepseek-tui origins` lists and removes them, and keeps their keys."),
        ]
        if origin.startswith("http:"):
            lines.insert(1, _("The line is not encrypted: whoever is between here and there can read along."))
        if not await self._asked(_("A new server"), tuple(lines), _("send them")):
            return False
        try:
            await asyncio.to_thread(confirm_origin, origin)
        except Problem as problem:
            self._failed(problem)
            return False
        return True

    async def started(self, target: Target, command: str) -> bool:
        """Ask whether to start the server that `target` needs, and do it; say whether it answers now."""
        name = backend_title(target.spec.backend)
        lines = (_("`{command}` would start it here. It goes on running when you leave.").format(command=command),)
        if not await self._asked(_("{name} is not running").format(name=name), lines, _("start it")):
            return False
        self._say(_("Starting {name} …").format(name=name))
        from backends import registry  # Not at the top: see `Presets`.

        try:
            await asyncio.to_thread(registry.start, target.spec.backend, target.spec.options)
        except Problem as problem:
            self._failed(problem)
            return False
        finally:
            self._say("")
        return True

    async def _restarted(self, target: Target) -> bool:
        from backends import registry

        found = await asyncio.to_thread(partial(registry.probe, target.spec.backend, options=target.spec.options))
        return bool(found.startable) and await self.started(target, found.startable)

    async def _asked(self, title: str, lines: tuple[str, ...], yes: str) -> bool:
        self._asking = True
        try:
            from tui.screens.question import QuestionScreen

            return await self._screen.app.push_screen_wait(QuestionScreen(title, lines, yes))
        finally:
            self._asking = False
