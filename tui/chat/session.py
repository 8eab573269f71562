"""One conversation as a person has it open: the branch, the model that answers, and the answer as it grows.

The session owns this state; a screen only reads it and is told what changed. It runs in an event loop.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal

from backends.base import Capability, ChatRequest, Partial
from backends.errors import Busy, ContextOverflow, ErrorInfo, Problem, to_info
from backends.host import launch
from backends.host.client import HostClient
from backends.host.wire import Status, Unsaved
from tui.chat import turn
from tui.chat.answer import Answer
from tui.chat.history import history, last_question
from tui.chat.link import Link
from tui.chat.overflow import Room, room
from tui.chat.remedies import Again, Remedies
from tui.chat.store import Store
from tui.chat.stored import Conversation, StoredMessage, StoreError, new_id
from tui.chat.target import Target

SAVE_AGAIN_S = 2.0

Change = Literal["branch", "answer", "model", "progress", "problem", "failure", "saved", "note", "overflow"]
"""What is another than before. "model": which one is chosen or loaded; "progress": how far loading or waiting is;
"problem": a failure that belongs to no message, "failure": any that kept the model from answering;
"overflow": there are choices to make about a conversation that does not fit, or none any more."""


class Session:
    """`branch` is what was said, `answer` what is being said to the row `answering`; `status` is the host's.

    `remedies` are for a conversation that does not fit. `hurried` says that the running thought was asked to close,
    `note` what the engine wants the user to know, `failure` why the chosen model last failed. `unsaved` says why the
    last answer is not on disk, "" if it is.
    """

    def __init__(self, store: Store, changed: Callable[[Change], None]) -> None:
        self.store = store
        self.conversation: Conversation | None = None
        self.branch: list[StoredMessage] = []
        self.target: Target | None = None
        self.answer: Answer | None = None
        self.answering: StoredMessage | None = None
        self.problem: Problem | None = None
        self.failure: ErrorInfo | None = None
        self.unsaved = self.note = ""
        self.hurried = False
        self._changed = changed
        self._link = Link(changed, self._lost, self._fail, self._tell_spool)
        self.remedies = Remedies(store, self._link, changed, self._fail, self._begin_again)
        self._moving = asyncio.Lock()
        self._turn: asyncio.Task[None] | None = None
        self._asked: Target | None = None
        self._stopping = False
        self._usual: Target | None = None
        self._seen_changes = store.changes()

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way, or being prepared."""
        return self._turn is not None or self.remedies.busy

    @property
    def watching(self) -> bool:
        """Whether the answer on its way is one that another screen or `ask` has begun."""
        return self._turn is not None and self._asked is None

    @property
    def status(self) -> Status | None:
        return self._link.status

    @property
    def step(self) -> launch.LaunchStep | None:
        """What is done to get a host, None once there is one or none is wanted."""
        return self._link.step

    @property
    def loading(self) -> bool:
        """Whether a model is on its way."""
        return self._link.loading

    @property
    def loaded_target(self) -> Target | None:
        """The target whose model is loaded or loading for this session."""
        return self._link.target if self._link.connected is not None else None

    def can(self, capability: Capability) -> bool:
        """Whether the loaded model can do this, as far as it is known."""
        loaded = self.status.loaded if self.status is not None and not self.watching else None
        return loaded is None or loaded.capabilities is None or capability in loaded.capabilities

    @property
    def room(self) -> Room | None:
        """How large the loaded model's context is, and the next larger one; None while none is loaded."""
        if self.status is None or self.status.loaded is None or self.target is None:
            return None
        return room(self.status.loaded, can_grow=self.target.can_grow)

    @property
    def host_pid(self) -> int | None:
        """The process that holds the model, for whoever measures it."""
        client = self._link.connected
        return client.welcome.pid if client is not None else None

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
            if not self.busy:
                await self._begin(target, lambda answer: self.store.begin(answer, target.asked, text, conversation))

    async def retry(self) -> None:
        """Have the last question answered once more, beside the answer it has. Raises Problem."""
        async with self._moving:
            target, question = self._wanted(), last_question(self.branch)
            if question is not None and not self.busy:
                await self._begin(target, lambda answer: self.store.begin_again(answer, target.asked, question, None))

    async def do_again(self) -> None:
        """Ask once more for what just failed: the last answer, or else the loading. Raises Problem."""
        last = self.branch[-1] if self.branch else None
        if self.failure is not None and last is not None and last.error == self.failure:
            await self.retry()
        else:
            self.choose(self._wanted())

    async def resume(self) -> None:
        """Go on with the last answer where it was cut off; in a larger context if its own is full. Raises Problem."""
        async with self._moving:
            target, last = self._wanted(), self.branch[-1] if self.branch else None
            if last is None or last.role != "assistant" or self.busy:
                return
            if not self.can("continue"):
                raise turn.cannot_continue(target.title)
            if last.reason == "context":
                self.remedies.grow(target, last, self.branch[:-1])
            elif (question := last_question(self.branch)) is not None:
                await self._begin(
                    target, lambda answer: self.store.begin_again(answer, target.asked, question, last.partial)
                )

    async def stop(self) -> None:
        """Stop the answer, or the loading if there is no answer. What was said stays."""
        await asyncio.sleep(0)  # A turn that was begun just now has to start before it can be stopped.
        row, task = self.answering, self._turn
        if self.remedies.busy:
            self.remedies.stop()
        elif task is None or row is None:
            await self._link.stop_warming()
        elif self.answer is not None and not self.answer.finished:
            told = await self._tell_host(row, functools.partial(self._stop_answer, row))
            if not told and not self.watching:  # No host has it yet.
                self._stopping = True
                task.cancel()

    async def answer_now(self) -> bool:
        """Let the model close its thought and answer with what it has; say whether there was a thought to close."""
        answer, row = self.answer, self.answering
        if answer is None or row is None or answer.finished or not answer.thinking or not self.can("answer_now"):
            return False
        self.hurried = await self._tell_host(row, lambda client: client.answer_now(row.id))
        self._changed("answer")
        return self.hurried

    async def _stop_answer(self, row: StoredMessage, client: HostClient) -> None:
        await client.stop(row.id)
        if not self.watching:
            await client.stop_load()

    async def _tell_host(self, row: StoredMessage, say: Callable[[HostClient], Awaitable[None]]) -> bool:
        """Say something to the host that has an answer; say whether one has it."""
        if self.watching:
            return await turn.tell_found(row.id, say)
        client = self._link.connected
        if client is None or self._link.target != self._asked:
            return False
        await say(client)
        return True

    # The model.

    def choose(self, target: Target, *, evict: launch.Evict = "idle") -> None:
        """Answer with this model from now on, and load it; while an answer runs, after its end."""
        self.target, self.problem, self.failure = target, None, None
        self.remedies.stop()
        self.remedies.drop()
        self._changed("model")
        if self._turn is None:
            self._link.warm(target, evict)

    async def unload(self) -> None:
        """Give the memory of this machine back: that of every model that is not answering."""
        if self._link.client is not None and not self.busy:
            await self._link.client.shutdown()
        await launch.free_memory()

    async def leave(self) -> None:
        """Let go of everything: the answer goes on in its host."""
        async with self._moving:
            await self._let_go()
        await self._link.close()

    # One turn.

    async def _begin(self, target: Target, commit: Callable[[str], StoredMessage]) -> None:
        """Spool first, then the row, then the host: from here on nothing said can be lost."""
        if self._turn is not None:
            return
        work = asyncio.ensure_future(asyncio.to_thread(turn.begin, self.store, new_id(), commit))
        try:
            begun = await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(turn.abandon)
            raise
        row, before = begun.row, begun.row.partial
        sent = history(begun.branch[:-1]).messages
        request = ChatRequest(sent, target.sampling, target.reasoning, before, begun.conversation.id)
        self.conversation, self.branch = begun.conversation, begun.branch
        self.remedies.drop()
        self._start(row, before, self._generate(row, request, begun.descriptor, target), target)

    async def _begin_again(self, again: Again) -> None:
        """Begin the last answer once more, with what was decided about a conversation that did not fit."""
        async with self._moving:
            last, question = self.branch[-1] if self.branch else None, last_question(self.branch)
            if last is None or question is None or last.id != again.answer:
                return  # Something else was said meanwhile.
            target = again.target if again.context is None else again.target.with_context(again.context)
            await self._begin(
                target,
                lambda answer: self.store.begin_again(answer, target.asked, question, last.partial, again.starts),
            )
            self._usual, self.target = (None if target == again.target else again.target), target
            self._changed("model")

    def _start(
        self, row: StoredMessage, before: Partial | None, work: Coroutine[Any, Any, None], asked: Target | None
    ) -> None:
        self.answering, self.answer, self.problem = row, Answer(before), None
        self._stopping = self.hurried = False
        self.note = ""
        self._turn, self._asked = asyncio.create_task(work), asked
        self._changed("branch")

    async def _generate(self, row: StoredMessage, request: ChatRequest, descriptor: int, target: Target) -> None:
        answer = self.answer or Answer()
        connect = functools.partial(self._link.connect, target)
        try:
            async for _ in turn.generate(row.id, request, connect, descriptor, answer):
                self._tell_note(answer)
                self._changed("answer")
        except asyncio.CancelledError:
            if not self._stopping:
                raise  # Left, not stopped: whoever comes next takes the answer in.
            turn.stop(answer)
        await self._finish(row, answer)

    async def _watch(self, row: StoredMessage) -> None:
        answer = self.answer or Answer()
        async for _ in turn.watch(self.store, row.id, answer):
            self._tell_note(answer)
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
        asked = self._asked
        self._turn = self.answer = self.answering = self._asked = None
        self.hurried = False
        self._show(opened, branch)
        self._after(branch, answer, asked)

    def _after(self, branch: list[StoredMessage], answer: Answer, asked: Target | None) -> None:
        """Do what an answer that is over calls for."""
        status, usual, self._usual = self.status, self._usual, None
        if usual is not None and answer.failed is not None and (status is None or status.loaded is None):
            self.target = usual  # The larger context could not be had.
            self._changed("model")
        overflowed = answer.failed is not None and answer.failed.kind == ContextOverflow.kind
        if overflowed and asked is not None and asked == self.target:
            self.remedies.measure(asked, branch[-1], branch[:-1])
        elif answer.failed is not None and asked is not None and asked == self.target:
            self._failed(answer.failed)
        elif self.target is not None and self.target != self._link.target:
            self._link.warm(self.target, "idle")

    def _follow(self) -> None:
        """If the last answer is still being generated somewhere, follow it."""
        if self.branch and self.branch[-1].state == "streaming" and not self.busy:
            row = self.branch[-1]
            self._start(row, row.partial, self._watch(row), None)

    def _show(self, conversation: Conversation, branch: list[StoredMessage]) -> None:
        self.conversation, self.branch = conversation, branch
        self._changed("branch")
        found = self.remedies.overflow
        if found is not None and (not branch or branch[-1].id != found.answer):
            self.remedies.drop()

    async def _let_go(self) -> None:
        """Stop following the answer; it goes on in its host."""
        await asyncio.sleep(0)  # A turn that never started could not free its spool.
        task, self._turn = self._turn, None
        self.answer = self.answering = self._asked = None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self.remedies.let_go()

    def _wanted(self) -> Target:
        if self.target is None:
            raise Problem("No model is chosen", "", "Choose a preset first.")
        return self.target

    def _tell_spool(self, unsaved: Unsaved) -> None:
        if self.answering is not None and unsaved.answer == self.answering.id:
            self._tell_unsaved(unsaved.detail)

    def _tell_unsaved(self, why: str) -> None:
        if why != self.unsaved:
            self.unsaved = why
            self._changed("saved")

    def _tell_note(self, answer: Answer) -> None:
        note = answer.prompt.note if answer.prompt is not None else ""
        if note and note != self.note:
            self.note = note
            self._changed("note")

    def _lost(self, client: HostClient) -> None:
        if not self.busy:
            self._fail(client.died())

    def _fail(self, problem: Problem) -> None:
        if not isinstance(problem, Busy):
            self.problem = problem
            self._changed("problem")
            self._failed(to_info(problem))

    def _failed(self, failure: ErrorInfo) -> None:
        self.failure = failure
        self._changed("failure")
