"""An answer followed to its end: its words as they come, in whole lines, and what is waited for meanwhile."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from tui.chat.session import Session
from tui.chat.storing.stored import StoredMessage
from tui.plain import told
from tui.plain.aloud import Aloud
from tui.plain.keyboard import Keyboard
from tui.plain.loop import Loop
from tui.plain.speaking import say
from tui.words import _

LOOK_S = 0.15
REMIND_S = 30.0
"""A thought or a load that goes on is told about again after so long."""
SHOWN_AFTER_S = 0.5
"""What is over sooner is not worth a line."""

End = Literal["over", "leave", "gone"]


class _Look(msgspec.Struct, frozen=True):
    """What is to be seen of a session at one moment; `row` is the answer on its way, or the last one."""

    busy: bool
    row: str
    text: str
    thinking: bool
    tokens: int
    thought_s: float | None
    waiting: str
    note: str
    unsaved: str
    looping: bool


class Following:
    """Follows the answers of a session; keys that are pressed meanwhile are heard by `keyboard`."""

    def __init__(self, loop: Loop, session: Session, keyboard: Keyboard) -> None:
        self._loop = loop
        self._session = session
        self._keyboard = keyboard
        self._aloud = Aloud()
        self._row, self._said = "", 0
        self._thinking = self._thought = False
        self._waiting = self._note = ""
        self._looped = self._told_unsaved = False
        self._waits_since = self._reminded_at = 0.0

    def follow(self, *, already: int = 0) -> End:
        """Say everything up to the end of what runs; so many characters of the text are known `already`."""
        self._aloud, self._row, self._said = Aloud(), "", already
        self._thinking = self._thought = self._looped = self._told_unsaved = False
        self._waiting = self._note = ""
        with self._keyboard.watched():
            while True:
                seen = self._loop.look(self._look)
                self._tell(seen)
                if not seen.busy:
                    return "over"
                match self._keyboard.wait(LOOK_S):
                    case "stop":
                        self._loop.call(self._session.stop())
                    case "answer now":
                        self._hurry()
                    case "leave":
                        return "leave"
                    case "gone":
                        return "gone"

    def last(self) -> StoredMessage | None:
        """Return the last answer, once it is in the store."""
        branch = self._session.branch
        return branch[-1] if branch and branch[-1].role == "assistant" else None

    def _look(self) -> _Look:
        session, answer, row = self._session, self._session.answer, self._session.answering
        waiting = told.waiting(session)
        if answer is not None and row is not None:
            text, thinking, tokens = answer.text, answer.thinking and not answer.text, answer.reasoning_tokens
            return _Look(
                session.busy, row.id, text, thinking, tokens, answer.thought_s if answer.reasoning else None, waiting,
                session.running.note, session.unsaved, answer.looping,
            )  # fmt: skip
        last = self.last()
        if last is None or session.busy:
            return _Look(session.busy, "", "", False, 0, None, waiting, "", session.unsaved, False)
        tokens = last.usage.reasoning_tokens or 0 if last.usage is not None else 0
        thought_s = last.thought_s if last.reasoning else None
        return _Look(False, last.id, last.text, False, tokens, thought_s, "", "", "", False)

    def _tell(self, seen: _Look) -> None:
        self._wait_for(seen)
        if seen.note and seen.note != self._note:
            self._note = seen.note
            say(_("Note: {note}").format(note=seen.note))
        if seen.unsaved and not self._told_unsaved:
            self._told_unsaved = True
            say(_("This answer is not on disk: {why}").format(why=seen.unsaved))
        if not seen.row:
            return
        if self._row and self._row != seen.row:  # Another screen has turned to another answer.
            self._aloud, self._said, self._thinking, self._thought = Aloud(), 0, False, False
        self._row = seen.row
        self._think(seen)
        new, self._said = seen.text[self._said :], max(self._said, len(seen.text))
        for line in self._aloud.more(new) if new else []:
            say(line)
        if seen.looping and not self._looped:
            say(_("It repeats itself. Ctrl+C stops it and keeps what was said."))
        self._looped = seen.looping
        if not seen.busy:
            for line in self._aloud.end():
                say(line)

    def _think(self, seen: _Look) -> None:
        now = time.monotonic()
        if seen.thinking and not self._thinking:
            self._thinking, self._reminded_at = True, now
            say(_("Thinking …"))
        elif seen.thinking and now - self._reminded_at >= REMIND_S:
            self._reminded_at = now
            say(_("Still thinking: {tokens} tokens. Ctrl+Y has it answer now.").format(tokens=f"{seen.tokens:,}"))
        over = not seen.thinking and (bool(seen.text) or not seen.busy)
        if over and seen.thought_s is not None and not self._thought:
            self._thought = True
            say(told.thought(seen.thought_s, seen.tokens) + ".")

    def _wait_for(self, seen: _Look) -> None:
        """Tell what is waited for once it lasts, and again from time to time."""
        now, what = time.monotonic(), seen.waiting.partition(":")[0]
        before = self._waiting
        if what != before:
            self._waiting, self._waits_since, self._reminded_at = what, now, 0.0
        if not what or now - self._waits_since < SHOWN_AFTER_S:
            return
        if not self._reminded_at or now - self._reminded_at >= REMIND_S:
            self._reminded_at = now
            say(f"{seen.waiting} …")

    def _hurry(self) -> None:
        if self._loop.call(self._session.answer_now()):
            say(_("The thought is asked to close."))
        else:
            say(_("There is no thought to close."))
