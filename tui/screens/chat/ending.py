"""The end of an answer that was asked for on this screen: signalled, where nobody may be looking any more."""

from __future__ import annotations

import asyncio
import time

from textual.screen import Screen

from tui.chat.session import Session
from tui.line import signals
from tui.units import duration
from tui.words import _


class Ending:
    """Looks whether what `screen` asked for has ended."""

    def __init__(self, screen: Screen[None]) -> None:
        self._screen = screen
        self._answer = ""
        self._since = 0.0

    def look(self, session: Session | None) -> None:
        """Take note of an answer on its way, and signal its end. One that was stopped, or left, is not signalled."""
        if session is None:
            return
        if session.busy:
            asked = session.answering
            if asked is not None and not session.running.watching and asked.id != self._answer:
                self._answer, self._since = asked.id, time.monotonic()
            return
        answer, self._answer = self._answer, ""
        last = session.branch[-1] if answer and session.branch else None
        if last is None or last.id != answer or last.state == "stopped" or session.conversation is None:
            return
        took = time.monotonic() - self._since
        words = _("Answered in {time}: {title}") if last.state == "done" else _("Not answered, after {time}: {title}")
        text = words.format(time=duration(took), title=session.conversation.title)
        looking = self._screen.app.app_focus
        self._screen.run_worker(asyncio.to_thread(signals.ended, text, took, looking=looking), group="signals")
