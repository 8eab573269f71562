"""One conversation as a person has it open: the branch, the model that answers, and the answer as it grows.

The session owns this state; a screen only reads it and is told what changed. It runs in an event loop.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from backends.base import Cancelled, ChatRequest, Partial
from backends.errors import Busy, Problem
from backends.host import launch
from backends.host.client import HostClient
from backends.host.wire import Status, Unsaved
from tui.chat import turn
from tui.chat.answer import Answer
from tui.chat.store import Conversation, Store, StoredMessage, StoreError, model_messages, new_id
from tui.chat.target import Target

SAVE_AGAIN_S = 2.0

Change = Literal["branch", "answer", "model", "progress", "problem", "saved"]
"""What is another than before. "model": which one is chosen or loaded; "progress": how far loading or waiting is."""


class Session:
    """`branch` is what was said, `answer` what is being said to the row `answering`; `status` is the host's.

    `step` is what is done to get a host, None once there is one or none is wanted. `unsaved` says why the last
    answer is not on disk, "" if it is.
    """

    def __init__(self, store: Store, changed: Callable[[Change], None]) -> None:
        self.store = store
        self.conversation: Conversation | None = None
        self.branch: list[StoredMessage] = []
        self.target: Target | None = None
        self.answer: Answer | None = None
        self.answering: StoredMessage | None = None
        self.status: Status | None = None
        self.step: launch.LaunchStep | None = None
        self.problem: Problem | None = None
        self.unsaved = ""
        self._changed = changed
        self._client: HostClient | None = None
        self._client_target: Target | None = None
        self._connecting = asyncio.Lock()
        self._moving = asyncio.Lock()
        self._turn: asyncio.Task[None] | None = None
        self._asked: Target | None = None
        self._stopping = False
        self._warming: asyncio.Task[None] | None = None
        self._seen_changes = store.changes()

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._turn is not None

    @property
    def watching(self) -> bool:
        """Whether the answer on its way is one that another screen or `ask` has begun."""
        return self._turn is not None and self._asked is None

    @property
    def loading(self) -> bool:
        """Whether a model is on its way."""
        return self.step is not None or (self.status is not None and self.status.phase == "loading")

    @property
    def loaded_target(self) -> Target | None:
        """The target whose model is loaded or loading for this session."""
        return self._client_target if self._client is not None and self._client.connected else None

    @property
    def host_pid(self) -> int | None:
        """The process that holds the model, for whoever measures it."""
        return self._client.welcome.pid if self._client is not None and self._client.connected else None

    # Conversations.

    async def new(self) -> None:
        """Begin an empty conversation; it reaches the disk with its first question."""
        async with self._moving:
            await self._let_go()
            self.conversation, self.branch = None, []
            self._changed("branch")

    async def open(self, conversation: str) -> None:
        """Show a conversation; if its answer is still being generated, follow it. Raises StoreError."""
        async with self._moving:
            opened = await asyncio.to_thread(self.store.conversation, conversation)
            branch = await asyncio.to_thread(self.store.branch, opened.id)
            await self._let_go()
            self._show(opened, branch)
            self._follow()

    async def refresh(self) -> bool:
        """Take in what other screens and `ask`s have changed; say whether there was anything that can be read now."""
        async with self._moving:
            try:
                changes = await asyncio.to_thread(self.store.changes)
                if changes == self._seen_changes:
                    return False
                if self.conversation is not None and not self.busy:
                    opened = await asyncio.to_thread(self.store.conversation, self.conversation.id)
                    self._show(opened, await asyncio.to_thread(self.store.branch, opened.id))
                    self._follow()
            except StoreError:
                return False  # Locked for the moment: the next look comes soon.
            self._seen_changes = changes
            return True

    # Asking.

    async def send(self, text: str) -> None:
        """Commit a question and have it answered. Raises Problem (StoreError, no model), and then nothing was sent.

        While an answer is on its way this and the next two do nothing.
        """
        async with self._moving:
            target = self._wanted()
            conversation = self.conversation.id if self.conversation else None
            await self._begin(lambda answer: self.store.begin(answer, target.asked, text, conversation))

    async def retry(self) -> None:
        """Have the last question answered once more, beside the answer it has. Raises Problem."""
        async with self._moving:
            target, question = self._wanted(), self._last_question()
            if question is not None:
                await self._begin(lambda answer: self.store.begin_again(answer, target.asked, question, None))

    async def resume(self) -> None:
        """Go on with the last answer where it was cut off. Raises Problem."""
        async with self._moving:
            target, question = self._wanted(), self._last_question()
            last = self.branch[-1] if self.branch else None
            if question is not None and last is not None and last.role == "assistant":
                await self._begin(lambda answer: self.store.begin_again(answer, target.asked, question, last.partial))

    async def stop(self) -> None:
        """Stop the answer, or the loading if there is no answer. What was said stays."""
        await asyncio.sleep(0)  # A turn that was begun just now has to start before it can be stopped.
        if self._turn is not None and self.answering is not None:
            if self.answer is not None and not self.answer.finished:
                await self._stop_turn(self._turn, self.answering)
        elif self._warming is not None:
            await self._stop_warming()

    async def _stop_turn(self, task: asyncio.Task[None], row: StoredMessage) -> None:
        client = self._client
        if self._asked is None:  # Another client's answer, watched here.
            other = await launch.find_answer(row.id)
            if other is not None:
                await other.stop(row.id)
                await other.close()
        elif client is not None and client.connected and self._client_target == self._asked:
            await client.stop(row.id)
            await client.stop_load()
        else:  # No host has it yet.
            self._stopping = True
            task.cancel()

    # The model.

    def choose(self, target: Target, *, evict: launch.Evict = "idle") -> None:
        """Answer with this model from now on, and load it; while an answer runs, after its end."""
        self.target = target
        self.problem = None
        self._changed("model")
        if not self.busy:
            self._warm(evict)

    async def unload(self) -> None:
        """Give the model's memory back, unless it is answering."""
        if self._client is not None and not self.busy:
            await self._client.shutdown()

    async def leave(self) -> None:
        """Let go of everything: the answer goes on in its host."""
        async with self._moving:
            await self._let_go()
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait([self._warming])
        if self._client is not None:
            await self._client.close()

    # One turn.

    async def _begin(self, commit: Callable[[str], StoredMessage]) -> None:
        """Spool first, then the row, then the host: from here on nothing said can be lost."""
        if self.busy:
            return
        target = self._wanted()
        work = asyncio.ensure_future(asyncio.to_thread(turn.begin, self.store, new_id(), commit))
        try:
            begun = await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(turn.abandon)
            raise
        row, before = begun.row, begun.row.partial
        request = ChatRequest(model_messages(begun.branch[:-1]), target.sampling, target.reasoning, before)
        self.conversation, self.branch = begun.conversation, begun.branch
        self._start(row, before, self._generate(row, request, begun.descriptor, target), target)

    def _start(
        self, row: StoredMessage, before: Partial | None, work: Coroutine[Any, Any, None], asked: Target | None
    ) -> None:
        self.answering, self.answer, self.problem = row, Answer(before), None
        self._stopping = False
        self._turn, self._asked = asyncio.create_task(work), asked
        self._changed("branch")

    async def _generate(self, row: StoredMessage, request: ChatRequest, descriptor: int, target: Target) -> None:
        answer = self.answer or Answer()
        connect = functools.partial(self._connect, target, "idle")
        try:
            async for _ in turn.generate(row.id, request, connect, descriptor, answer):
                self._changed("answer")
        except asyncio.CancelledError:
            if not self._stopping:
                raise  # Left, not stopped: whoever comes next takes the answer in.
            turn.stop(answer)
        await self._finish(row, answer)

    async def _watch(self, row: StoredMessage) -> None:
        answer = self.answer or Answer()
        async for _ in turn.watch(self.store, row.id, answer):
            self._changed("answer")
        await self._finish(row, answer)

    async def _finish(self, row: StoredMessage, answer: Answer) -> None:
        """Commit the end, as often as it takes: an answer that cannot be saved stays on the screen and says so."""
        while True:
            try:
                if answer.finished:
                    await asyncio.to_thread(turn.finish, self.store, row.id, answer)
                opened = await asyncio.to_thread(self.store.conversation, row.conversation)
                branch = await asyncio.to_thread(self.store.branch, row.conversation)
                break
            except StoreError as error:
                self._tell_unsaved(error.detail or error.title)
                await asyncio.sleep(SAVE_AGAIN_S)
        self._tell_unsaved("")
        self._turn = self.answer = self.answering = self._asked = self.step = None
        self._show(opened, branch)
        if self.target is not None and self.target != self._client_target:
            self._warm("idle")

    def _follow(self) -> None:
        """If the last answer is still being generated somewhere, follow it."""
        if self.branch and self.branch[-1].state == "streaming" and not self.busy:
            row = self.branch[-1]
            self._start(row, row.partial, self._watch(row), None)

    def _show(self, conversation: Conversation, branch: list[StoredMessage]) -> None:
        self.conversation, self.branch = conversation, branch
        self._changed("branch")

    async def _let_go(self) -> None:
        """Stop following the answer; it goes on in its host."""
        await asyncio.sleep(0)  # A turn that never started could not free its spool.
        task, self._turn = self._turn, None
        self.answer = self.answering = self._asked = None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    # The host.

    def _warm(self, evict: launch.Evict) -> None:
        before, target = self._warming, self.target

        async def warm() -> None:
            if before is not None:
                before.cancel()
                await asyncio.wait([before])
            if target is None:
                return
            try:
                client = await self._connect(target, evict)
                await client.loaded()
            except Cancelled:
                pass  # Loading was stopped, as wanted.
            except Problem as problem:
                self._fail(problem)
            finally:
                self._changed("model")

        task = self._warming = asyncio.create_task(warm())
        task.add_done_callback(self._warmed)

    def _warmed(self, task: asyncio.Task[None]) -> None:
        if self._warming is task:
            self._warming = None
            self._changed("model")

    async def _stop_warming(self) -> None:
        if self._client is not None and self._client.connected and self.step is None:
            await self._client.stop_load()
        elif self._warming is not None:
            self._warming.cancel()

    async def _connect(self, target: Target, evict: launch.Evict) -> HostClient:
        """Return a connection to the host of `target`, the one at hand if it is that. Raises like `turn.obtain`."""
        async with self._connecting:
            client = self._client
            if client is not None:
                same = self._client_target is not None and self._client_target.spec == target.spec
                if same and client.connected and client.status.phase not in {"ending", "failed"}:
                    self._client_target = target  # Another preset may run the very same model.
                    return client
                if client.status.phase == "loading":
                    await client.stop_load()
                await client.close()
            self._client = self._client_target = self.status = None
            self._changed("model")
            try:
                client = await turn.obtain(target.spec, self._tell_step, evict=evict)
            finally:
                self._tell_step(None)
            self._client, self._client_target, self.status = client, target, client.status
            client.on_status = self._tell_status
            client.on_unsaved = self._tell_spool
            client.on_closed = self._lost
            self._changed("model")
            return client

    def _wanted(self) -> Target:
        if self.target is None:
            raise Problem("No model is chosen", "", "Choose a preset first.")
        return self.target

    def _last_question(self) -> StoredMessage | None:
        return next((message for message in reversed(self.branch) if message.role == "user"), None)

    def _tell_step(self, step: launch.LaunchStep | None) -> None:
        self.step = step
        self._changed("progress")

    def _tell_status(self, status: Status) -> None:
        before, self.status = self.status, status
        same = before is not None and (before.phase, before.loaded) == (status.phase, status.loaded)
        self._changed("progress" if same else "model")

    def _tell_spool(self, unsaved: Unsaved) -> None:
        if self.answering is not None and unsaved.answer == self.answering.id:
            self._tell_unsaved(unsaved.detail)

    def _tell_unsaved(self, why: str) -> None:
        if why != self.unsaved:
            self.unsaved = why
            self._changed("saved")

    def _lost(self) -> None:
        """The connection is gone: ended for its memory, idle too long, or dead."""
        client, self.status = self._client, None
        if client is not None and client.status.phase not in {"ending", "failed"} and not self.busy:
            self._fail(client.died())
        self._changed("model")

    def _fail(self, problem: Problem) -> None:
        if not isinstance(problem, Busy):
            self.problem = problem
            self._changed("problem")
