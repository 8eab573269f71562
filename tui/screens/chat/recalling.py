"""↑ and ↓ in the composer: what was asked before, in the place of what is typed, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from backends.errors import Problem
from tui.chat import asked
from tui.chat.asked import Question, Walk
from tui.chat.session import Session
from tui.widgets.composer import Composer


class Recalling:
    """Walks for `composer`. Without `history`, through the questions of the open chat alone; nothing is kept then.

    `failed` tells what cannot be kept, once.
    """

    def __init__(
        self,
        composer: Composer,
        session: Callable[[], Session | None],
        failed: Callable[[Problem], None],
        *,
        history: bool,
    ) -> None:
        self._composer = composer
        self._session = session
        self._failed = failed
        self._history = history
        self._walk: Walk | None = None
        self._put = ""
        self._told = False

    def typed(self, text: str) -> str:
        """Return what of `text`, which stands in the composer, is the user's own: not what a walk has put there."""
        return self._walk.typed if self._walk is not None and text == self._put else text

    def end(self) -> None:
        """End the walk: what it found was sent, or something else has taken its place."""
        self._walk = None

    async def go(self, step: int) -> None:
        """Show the question before (-1) or after (1), or at last what was typed."""
        if self._walk is None:
            if step > 0:
                return
            self._walk = Walk(await self._questions(), self._composer.text)
        text = self._walk.to(step, self._composer.text)
        if text is None:
            return
        self._put = text
        self._composer.walk_to(text)

    async def add(self, question: Question) -> None:
        """Keep what was asked."""
        if self._history:
            try:
                await asyncio.to_thread(asked.add, question)
            except Problem as problem:
                if not self._told:
                    self._failed(problem)
                self._told = True

    async def _questions(self) -> list[str]:
        session = self._session()
        here = [message.text for message in session.branch if message.role == "user"] if session else []
        if not self._history or session is None:
            return here
        try:
            return [question.text for question in await asyncio.to_thread(asked.load, session.store)]
        except Problem:
            return here
