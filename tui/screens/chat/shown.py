"""What the transcript shows now, so that only what differs is drawn again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from backends.errors import Problem
from tui.chat import thrash
from tui.chat.session import Session
from tui.screens.chat import notices
from tui.widgets.transcript import Entry, Transcript


class Shown:
    """Keeps a transcript at the entries it is given. Notices stay below them until the next message comes."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._entries: dict[str, Entry] = {}
        self._notices: list[Entry] = []
        self._chat: str | None = None
        self._noted: int | None = None

    def branch(self, chat: str | None, entries: Iterable[Entry]) -> None:
        """Show a conversation's entries; `chat` None is one that has no id yet."""
        wanted = {entry.id: entry for entry in entries}
        began_here = self._chat is None and not self._entries
        if chat != self._chat and not began_here:
            self._notices.clear()
            self._entries.clear()
        self._chat = chat
        before, self._entries = self._entries, wanted
        if not before:
            self._transcript.show([*wanted.values(), *self._notices])
        elif list(wanted)[: len(before)] == list(before):
            # Nothing but what differs is painted again.
            for entry in wanted.values():
                self._put(entry, before.get(entry.id))
        else:
            if not wanted.keys() <= before.keys():
                self._notices.clear()
            self._transcript.change([*wanted.values(), *self._notices])

    def put(self, entry: Entry) -> None:
        """Show one entry's new value, or append it."""
        before = self._entries.get(entry.id)
        self._entries[entry.id] = entry
        self._put(entry, before)

    def _put(self, entry: Entry, before: Entry | None) -> None:
        if entry != before:
            if before is None:
                self.forget_notices()
            self._transcript.put(entry)

    def forget_notices(self) -> None:
        """Take the notices away: something was said after them."""
        for notice in self._notices:
            self._transcript.take_out(notice.id)
        self._notices.clear()

    def shows(self, notice_id: str) -> bool:
        """Say whether a notice still stands."""
        return any(notice.id == notice_id for notice in self._notices)

    def notes(self, session: Session) -> None:
        """Say, once for each loading, what the engine has to say about the model it has loaded."""
        loaded = session.status.loaded if session.status is not None else None
        pid, target = session.host_pid, session.loaded_target
        if loaded is not None and loaded.notes and target is not None and pid != self._noted:
            self._noted = pid
            self.notice(notices.notes_entry(target.title, loaded.notes))

    async def strained(self, session: Session) -> None:
        """Say what is seen of memory that is too small for the answer on its way, and who holds it."""
        strain, pid = session.running.strain, session.host_pid
        if strain is not None:
            self.notice(notices.strain_entry(strain, await asyncio.to_thread(thrash.why, strain, pid)))

    def problem(self, problem: Problem) -> None:
        """Show a failure that belongs to no message; the same one twice in a row is shown once."""
        self.notice(notices.problem_entry(len(self._notices) + 1, problem))

    def notice(self, entry: Entry) -> None:
        """Show something that nobody said, until the next message comes; one of the same id takes its place."""
        place = next((place for place, notice in enumerate(self._notices) if notice.id == entry.id), None)
        if place is not None and self._notices[place] == entry:
            return
        if place is not None:
            self._notices[place] = entry
            self._transcript.put(entry)
            return
        last = self._notices[-1] if self._notices else None
        if last is None or (last.title, last.text) != (entry.title, entry.text):
            self._notices.append(entry)
            self._transcript.put(entry)
