"""`^f`: from what was found to the message in its chat, with the words marked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from textual.screen import Screen

from backends.errors import Problem
from tui.chat.searching import search, search_text
from tui.chat.session import Session
from tui.chat.storing import forgetting
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from tui.screens.search.screen import Found

_STEP_S, _PAUSE_S = 0.2, 0.5


class Finding:
    """Opens the search over `screen`. `show` shows the branch, `failed` hears of what could not be done."""

    def __init__(
        self, screen: Screen[None], show: Callable[[Session], None], failed: Callable[[Problem], None]
    ) -> None:
        self._screen = screen
        self._show = show
        self._failed = failed
        self._text = ""

    def open(self, session: Session) -> None:
        """Search, beginning with what was looked for last."""
        from tui.screens.search import SearchScreen  # Not before somebody searches.

        self._screen.app.push_screen(SearchScreen(session.store, self._text), partial(self._found, session))

    async def _found(self, session: Session, found: Found | None) -> None:
        if found is None:
            return
        self._text, hit = found.text, found.hit
        try:
            await session.open(hit.conversation, hit.message)
        except Problem as problem:
            self._failed(problem)
            return
        self._show(session)
        transcript = self._screen.query_one(Transcript)
        transcript.focus()
        if hit.where != "title" and hit.message is not None:
            marks = partial(search_text.marks, wanted=search_text.patterns(search_text.terms(found.text)))
            self._screen.call_after_refresh(transcript.find, hit.message, marks, thought=hit.where == "reasoning")


async def look_after(store: Store) -> None:
    """Index what is not indexed yet, then let go what was thrown away long ago; a failure waits for the next start."""
    try:
        done = False
        while not done:
            done = await asyncio.to_thread(search.catch_up, store, _STEP_S)
            await asyncio.sleep(_PAUSE_S)
        if await asyncio.to_thread(forgetting.is_due, store):
            await forgetting.empty(store)
    except (StoreError, Problem):
        return
