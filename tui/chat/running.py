"""The answer on its way: begun here, or followed where another screen or `ask` has begun it, until its end is kept."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal

from backends.base import ChatRequest, Partial
from backends.events import Io
from backends.host.client import HostClient
from backends.host.wire import Unsaved
from tui.chat import turn
from tui.chat.answer import Answer
from tui.chat.link import Link
from tui.chat.storing import opened
from tui.chat.storing.opened import Opened
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoredMessage, StoreError
from tui.chat.target import Target
from tui.chat.thrash import Strain, Watch

SAVE_AGAIN_S = 2.0

RunningChange = Literal["branch", "answer", "saved", "note", "strain"]


class Running:
    """`answer` is what is said to the row `row` until now; `asked` who says it, None if another has begun it.

    `hurried` says that the running thought was asked to close, `note` what the engine wants the user to know. `unsaved`
    says why the last answer is not on disk, "" if it is. `strain` is what was seen of memory that is too small, `moved`
    which answer was the last one that ended here, and what it read and wrote.
    `ended` hears of what is in the store then.
    """

    def __init__(
        self,
        store: Store,
        link: Link,
        changed: Callable[[RunningChange], None],
        ended: Callable[[Opened, Answer, Target | None], None],
    ) -> None:
        self.answer: Answer | None = None
        self.row: StoredMessage | None = None
        self.asked: Target | None = None
        self.hurried = False
        self.unsaved = self.note = ""
        self.strain: Strain | None = None
        self.moved: tuple[str, Io | None] | None = None
        self._memory = Watch()
        self._store = store
        self._link = link
        self._changed = changed
        self._ended = ended
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether there is one."""
        return self._task is not None

    @property
    def watching(self) -> bool:
        """Whether it is one that another screen or `ask` has begun."""
        return self._task is not None and self.asked is None

    def begin(self, begun: turn.Begun, request: ChatRequest, target: Target) -> None:
        """Have a turn answered that is on disk."""
        self._start(begun.row, begun.row.partial, self._generate(begun.row, request, begun.descriptor, target), target)

    def follow(self, row: StoredMessage) -> None:
        """Follow an answer that is being generated somewhere."""
        self._start(row, row.partial, self._watch(row), None)

    async def stop(self) -> None:
        """Stop it; what was said stays."""
        task, row = self._task, self.row
        if task is not None and row is not None and self.answer is not None and not self.answer.finished:
            told = await self._tell_host(row, functools.partial(self._stop_answer, row))
            if not told and not self.watching:  # No host has it yet.
                self._stopping = True
                task.cancel()

    async def answer_now(self) -> bool:
        """Let the model close its thought and answer with what it has; say whether there was a thought to close."""
        answer, row = self.answer, self.row
        if answer is None or row is None or answer.finished or not answer.thinking:
            return False
        self.hurried = await self._tell_host(row, lambda client: client.answer_now(row.id))
        self._changed("answer")
        return self.hurried

    async def let_go(self) -> None:
        """Stop following it; it goes on in its host."""
        await asyncio.sleep(0)  # A turn that never started could not free its spool.
        task, self._task = self._task, None
        self.answer = self.row = self.asked = None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def tell_spool(self, unsaved: Unsaved) -> None:
        """Take in what a host says about a spool that it cannot write, or can again."""
        if self.row is not None and unsaved.answer == self.row.id:
            self._tell_unsaved(unsaved.detail)

    def tell_note(self, answer: Answer) -> None:
        """Take in what the engine says about an answer, and what is seen of its memory, once."""
        status = None if self.watching else self._link.status
        strain = self._memory.look(answer, status.loaded) if status is not None else None
        if strain is not None:
            self.strain = strain
            self._changed("strain")
        note = answer.prompt.note if answer.prompt is not None else ""
        if note and note != self.note:
            self.note = note
            self._changed("note")

    def _start(
        self, row: StoredMessage, before: Partial | None, work: Coroutine[Any, Any, None], asked: Target | None
    ) -> None:
        self.row, self.answer = row, Answer(before)
        self._stopping = self.hurried = False
        self.note, self.strain, self._memory = "", None, Watch()
        self._task, self.asked = asyncio.create_task(work), asked
        self._changed("branch")

    async def _generate(self, row: StoredMessage, request: ChatRequest, descriptor: int, target: Target) -> None:
        answer = self.answer or Answer()
        connect = functools.partial(self._link.connect, target)
        try:
            async for _ in turn.generate(row.id, request, connect, descriptor, answer):
                self.tell_note(answer)
                self._changed("answer")
        except asyncio.CancelledError:
            if not self._stopping:
                raise  # Left, not stopped: whoever comes next takes the answer in.
            turn.stop(answer)
        await self._finish(row, answer)

    async def _watch(self, row: StoredMessage) -> None:
        answer = self.answer or Answer()
        async for _ in turn.watch(self._store, row.id, answer):
            self.tell_note(answer)
            self._changed("answer")
        await self._finish(row, answer)

    async def _finish(self, row: StoredMessage, answer: Answer) -> None:
        """Commit the end, as often as it takes: an answer that cannot be saved stays on the screen and says so."""
        while True:
            try:
                if answer.finished:
                    await asyncio.to_thread(turn.finish, self._store, row.id, answer)
                found = await asyncio.to_thread(opened.read, self._store, row.conversation)
                break
            except StoreError as error:
                self._tell_unsaved(error.detail or error.title)
                await asyncio.sleep(SAVE_AGAIN_S)
        self._tell_unsaved("")
        asked, self.moved = self.asked, (row.id, answer.io)
        self._task = self.answer = self.row = self.asked = None
        self.hurried = False
        self._ended(found, answer, asked)

    async def _stop_answer(self, row: StoredMessage, client: HostClient) -> None:
        await client.stop(row.id)
        if not self.watching:
            await client.stop_load()

    async def _tell_host(self, row: StoredMessage, say: Callable[[HostClient], Awaitable[None]]) -> bool:
        """Say something to the host that has the answer; say whether one has it."""
        if self.watching:
            return await turn.tell_found(row.id, say)
        client = self._link.connected
        if client is None or self._link.target != self.asked:
            return False
        await say(client)
        return True

    def _tell_unsaved(self, why: str) -> None:
        if why != self.unsaved:
            self.unsaved = why
            self._changed("saved")
