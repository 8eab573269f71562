"""The choices about a conversation that does not fit: offered while there is something to decide, then carried out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from textual.screen import Screen

from backends.errors import Problem
from tui.chat.session import Session

if TYPE_CHECKING:
    from tui.screens.overflow import Choice, OverflowScreen


class Choices:
    """Offers above `screen` what a session has to be told. `failed` hears of a choice that could not be carried out."""

    def __init__(self, screen: Screen[None], failed: Callable[[Problem], None]) -> None:
        self._screen = screen
        self._failed = failed
        self._open: OverflowScreen | None = None

    def show(self, session: Session) -> None:
        """Offer what there is to decide now, and take away what there is no more."""
        found = session.remedies.overflow if not session.busy else None
        opened, self._open = self._open, None
        if opened is not None:
            if opened.overflow == found:
                self._open = opened
                return
            opened.withdraw()
        if found is not None:
            from tui.screens.overflow import OverflowScreen

            self._open = OverflowScreen(found, session.branch)
            self._screen.app.push_screen(self._open, partial(self._decided, session, self._open))

    async def _decided(self, session: Session, decided: OverflowScreen, choice: Choice | None) -> None:
        if decided is not self._open:
            return  # It was taken away.
        self._open = None
        try:
            match choice:
                case "without":
                    await session.remedies.go_on_without()
                case "larger":
                    await session.remedies.enlarge()
                case "summary":
                    session.remedies.summarise()
                case _:
                    session.remedies.drop()
        except Problem as problem:
            self._failed(problem)
            self.show(session)  # The others are still there.
