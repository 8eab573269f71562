"""What can be done about a conversation that does not fit, and doing it: what is sent, how large the context is."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal

import msgspec

from backends.base import Cancelled
from backends.errors import Problem
from tui.chat import overflow, summary
from tui.chat.answer import Answer
from tui.chat.link import Link
from tui.chat.overflow import Overflow
from tui.chat.storing.receipts import of_summary
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoredMessage, StoreError
from tui.chat.summary import Summarising
from tui.chat.target import Target

RemedyChange = Literal["progress", "overflow"]


class Counting(msgspec.Struct, frozen=True):
    """It is being counted what of the conversation fits into the context."""


class Again(msgspec.Struct, frozen=True):
    """How an answer is begun again: with these marks where sending begins, in a context of this size if it is given."""

    answer: str
    target: Target
    starts: Mapping[str, str | None] = {}
    context: int | None = None


class Remedies:
    """`overflow` is what the user has to decide about an answer that could not be begun, None if there is nothing.

    `preparing` is what is done before it can be begun again: that can be stopped, and then all is as it was.
    `begin` begins it; `failed` hears of what went wrong.
    """

    def __init__(
        self,
        store: Store,
        link: Link,
        changed: Callable[[RemedyChange], None],
        failed: Callable[[Problem], None],
        begin: Callable[[Again], Awaitable[None]],
    ) -> None:
        self.overflow: Overflow | None = None
        self.preparing: Counting | Summarising | None = None
        self._store = store
        self._link = link
        self._changed = changed
        self._failed = failed
        self._begin = begin
        self._target: Target | None = None
        self._before: Sequence[StoredMessage] = ()
        self._task: asyncio.Task[None] | None = None
        self._stoppable = self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether something is being prepared."""
        return self.preparing is not None

    # The choices. Each does nothing where there is no such choice, and raises Problem.

    async def go_on_without(self) -> None:
        """Have the question answered without the messages that are too many, now and later."""
        found, target = self.overflow, self._target
        if found is not None and target is not None and found.start is not None:
            await self._begin(Again(found.answer, target, {found.start: found.summary}))

    async def enlarge(self) -> None:
        """Load the model with a larger context and have the question answered there."""
        found, target = self.overflow, self._target
        if found is not None and target is not None and found.larger is not None:
            await self._begin(self._larger(target, found))

    def summarise(self) -> None:
        """Have the model write a summary of what is too much, then answer with that in its place."""
        found, target = self.overflow, self._target
        if found is not None and target is not None and found.unsent:
            self._prepare(Summarising(len(found.unsent)), self._summarised(target, found))

    def drop(self) -> None:
        """Leave the answer that could not be begun as it is."""
        if self.overflow is not None:
            self.overflow = None
            self._changed("overflow")

    # What leads to them.

    def measure(self, target: Target, row: StoredMessage, before: Sequence[StoredMessage]) -> None:
        """See what can be done about an answer that did not fit after the messages `before` it: the user decides."""
        self._prepare(Counting(), self._measured(target, row, before))

    def grow(self, target: Target, row: StoredMessage, before: Sequence[StoredMessage]) -> None:
        """Go on with an answer that has filled its context in a larger one; without one, the user decides."""
        self._prepare(Counting(), self._grown(target, row, before))

    def stop(self) -> None:
        """Stop preparing. The choices stay."""
        if self._stoppable and self._task is not None:
            self._stopping = True
            self._task.cancel()

    async def let_go(self) -> None:
        """Forget everything: another conversation is shown."""
        task, self._task = self._task, None
        self.preparing = None
        self.drop()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _measured(self, target: Target, row: StoredMessage, before: Sequence[StoredMessage]) -> None:
        client = await self._link.connect(target)
        await client.loaded()
        self._target, self._before = target, before
        self.overflow = await overflow.measure(client, row, before, can_grow=target.can_grow, system=target.system)

    async def _grown(self, target: Target, row: StoredMessage, before: Sequence[StoredMessage]) -> Again | None:
        await self._measured(target, row, before)
        found = self.overflow
        if found is None:
            return Again(row.id, target)  # This model's context has room for it.
        if found.larger is not None:
            return self._larger(target, found)
        if found.start is None:
            self.overflow = None
            detail = "The model was made for no larger one, and there is nothing before the question to leave out."
            hint = "Ask again for a shorter answer, or in a new chat."
            raise Problem(f"The context of {found.fit.context:,} tokens is full", detail, hint)
        return None

    async def _summarised(self, target: Target, found: Overflow) -> Again:
        def told(answer: Answer) -> None:
            self.preparing = Summarising(len(found.unsent), answer.tokens)
            self._changed("progress")

        connect = functools.partial(self._link.connect, target)
        chat = self._before[0].conversation if self._before else None

        async def spent(answer: Answer) -> None:
            # A bill that cannot be written now must not cost the user the summary.
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(self._store.keep, of_summary(answer, target.asked, chat))

        text = await summary.of(self._before, found, target, connect, told, spent)
        return Again(found.answer, target, {found.start or "": text})

    def _larger(self, target: Target, found: Overflow) -> Again:
        """Leave nothing out any more where the larger context takes everything."""
        marked = [message.id for message in self._before if message.context_start is not None]
        return Again(found.answer, target, dict.fromkeys(marked) if found.fits_whole else {}, found.larger)

    def _prepare(self, what: Counting | Summarising, work: Coroutine[Any, Any, Again | None]) -> None:
        self._stoppable, self._stopping = True, False
        self.preparing, self._task = what, asyncio.create_task(self._prepared(work))
        self._task.add_done_callback(self._ended)
        self._changed("progress")

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task is self._task:
            self._task = self.preparing = None

    async def _prepared(self, work: Coroutine[Any, Any, Again | None]) -> None:
        again, problem = None, None
        try:
            again = await work
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except Cancelled:
            pass  # Loading was stopped, as wanted.
        except Problem as caught:
            problem = caught
        self._stoppable = False
        try:
            if again is not None:
                await self._begin(again)
        except Problem as caught:
            problem = caught
        self.preparing = None
        if problem is not None:
            self._failed(problem)
        self._changed("progress")
        self._changed("overflow")
