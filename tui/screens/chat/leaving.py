"""Leaving: the answer goes on in its host. A second press within the moment ends it too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.screen import Screen

from tui.chat import turn
from tui.chat.session import Session
from tui.keys import filled
from tui.words import N_, _

LEAVE_S = 0.8
_GOES_ON = N_("The answer goes on. `deepseek-tui` shows it.")
_NOT_BEGUN = N_("No model had the question yet. `deepseek-tui` shows it, and {answer.retry} asks it again.")
_STOPS, _STOP_S = 20, 0.1


class Leaving:
    """Leaves `screen`. `ended` ends what watches, `show` shows that it is being left.

    `typed` returns what is to be said of what was typed.
    """

    def __init__(
        self,
        screen: Screen[None],
        session: Callable[[], Session | None],
        ended: Callable[[], None],
        show: Callable[[], None],
        typed: Callable[[], str],
    ) -> None:
        self._screen = screen
        self._session = session
        self._ended = ended
        self._show = show
        self._typed = typed
        self.under_way = False

    async def leave(self) -> None:
        """Leave at once where nothing is answered; else say so first."""
        session = self._session()
        if self.under_way and session is not None:
            await session.stop()
            for _try in range(_STOPS):
                if session.answer is None:
                    break
                await asyncio.sleep(_STOP_S)
        if session is None or session.answer is None:
            await self._end()
            return
        self.under_way = True
        self._show()
        self._screen.set_timer(LEAVE_S, self._end)

    async def _end(self) -> None:
        self._ended()
        session = self._session()
        last_words = None
        if session is not None and session.answer is not None:
            last_words = filled(_(_NOT_BEGUN)) if turn.on_the_way() else _(_GOES_ON)
        if session is not None:
            await session.leave()
        self._screen.app.exit(message="\n".join(words for words in (last_words, self._typed()) if words) or None)
