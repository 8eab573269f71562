"""One conversation as a person has it open: the branch, the model that answers, and the answer as it grows.

The session owns this state; a screen only reads it and is told what changed. It runs in an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal

from backends.base import Capability
from backends.errors import Busy, ContextOverflow, ErrorInfo, Problem, to_info
from backends.host import launch
from backends.host.client import HostClient
from backends.host.wire import Status
from tui.chat import turn
from tui.chat.answer import Answer
from tui.chat.asking import Asking
from tui.chat.history import last_question
from tui.chat.link import Link
from tui.chat.overflow import Room, room
from tui.chat.remedies import Again, Remedies
from tui.chat.running import Running
from tui.chat.storing import opened, shelf, tree
from tui.chat.storing.opened import Opened
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation, StoredMessage, StoreError
from tui.chat.target import Target
from tui.chat.wanted import Wanted

Change = Literal["branch", "answer", "model", "progress", "problem", "failure", "saved", "note", "strain", "overflow"]
"""What is another than before. "model": which one is chosen or loaded; "progress": how far loading or waiting is;
"problem": a failure that belongs to no message, "failure": any that kept the model from answering;
"overflow": there are choices to make about a conversation that does not fit, or none any more."""


class Session:
    """`branch` is what was said, `versions` says which of how many a message of it is, where there are others.

    `running` is what is being said, `status` is the host's, `wanted` is who is to answer. `remedies` are for a
    conversation that does not fit, `failure` is why the chosen model last failed.
    """

    def __init__(self, store: Store, changed: Callable[[Change], None]) -> None:
        self.store = store
        self.conversation: Conversation | None = None
        self.branch: list[StoredMessage] = []
        self.versions: Mapping[str, tuple[int, int]] = {}
        self.problem: Problem | None = None
        self.failure: ErrorInfo | None = None
        self._changed = changed
        self._link = Link(changed, self._lost, self._fail)
        self.running = Running(store, self._link, changed, self._ended)
        self._link.unsaved = self.running.tell_spool
        self.remedies = Remedies(store, self._link, changed, self._fail, self._begin_again)
        self._moving = asyncio.Lock()
        self.wanted = Wanted()
        self._seen_changes = store.changes()

    @property
    def target(self) -> Target | None:
        """Who is to answer the next question, as the chat asks for it."""
        return self.wanted.target

    @target.setter
    def target(self, chosen: Target | None) -> None:
        self.wanted.choose(chosen)

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way, or being prepared."""
        return self.running.busy or self.remedies.busy

    @property
    def answer(self) -> Answer | None:
        """What is being said."""
        return self.running.answer

    @property
    def answering(self) -> StoredMessage | None:
        """The row that it is said to."""
        return self.running.row

    @property
    def unsaved(self) -> str:
        """Why the last answer is not on disk, "" if it is."""
        return self.running.unsaved

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
    def warming(self) -> bool:
        """Whether a model is looked for, or loaded, before anything is asked."""
        return self._link.warming

    @property
    def loaded_target(self) -> Target | None:
        """The target whose model is loaded or loading for this session."""
        return self._link.target if self._link.connected is not None else None

    def can(self, capability: Capability) -> bool:
        """Whether the loaded model can do this, as far as it is known."""
        loaded = self.status.loaded if self.status is not None and not self.running.watching else None
        return loaded is None or loaded.capabilities is None or capability in loaded.capabilities

    @property
    def room(self) -> Room | None:
        """How large the loaded model's context is, and the next larger one; None while none is loaded."""
        loaded, target = self.status.loaded if self.status is not None else None, self.target
        return room(loaded, can_grow=target.can_grow) if loaded is not None and target is not None else None

    @property
    def host_pid(self) -> int | None:
        """The process that holds the model, for whoever measures it."""
        return client.welcome.pid if (client := self._link.connected) is not None else None

    # Conversations.

    async def new(self) -> None:
        """Begin an empty conversation; it reaches the disk with its first question."""
        async with self._moving:
            await self._empty()

    async def open(self, conversation: str, message: str | None = None) -> None:
        """Show a conversation, in a branch that holds `message` if one is given; follow its answer if there is one.

        Raises StoreError.
        """
        async with self._moving:
            if message is not None:
                await asyncio.to_thread(tree.show, self.store, conversation, message)
            await self._turn_to(conversation)

    async def reread(self) -> None:
        """Take in what was changed of the conversation, not of what is said in it. Raises StoreError."""
        async with self._moving:
            if self.conversation is not None:
                self.conversation = await asyncio.to_thread(self.store.conversation, self.conversation.id)
                self.wanted.show(self.conversation)
                self._changed("branch")

    async def ask_so(self, asking: Asking) -> None:
        """Have this chat, or the one to come, ask so of its model from the next question on. Raises StoreError.

        Where that takes another context, a model that is in memory is loaded anew: after the answer that runs.
        """
        async with self._moving:
            if self.conversation is not None:
                self.conversation = await asyncio.to_thread(shelf.ask_so, self.store, self.conversation, asking)
            self.wanted.ask_so(asking)
            self.remedies.drop()  # It may fit now, or no more.
            self._changed("branch")
            if not self.busy and self._link.connected is not None:
                self._link.renew(self.target)

    async def refresh(self) -> bool:
        """Take in what other screens and `ask`s have changed; say whether there was anything that can be read now.

        Raises StoreError if the conversations cannot be read any more.
        """
        async with self._moving:
            chat = self.conversation if not self.busy else None
            news = await asyncio.to_thread(opened.news, self.store, self._seen_changes, chat)
            if news is None:
                return False
            if chat is not None and news.opened is None:
                await self._empty()
                self.problem = opened.deleted_elsewhere(chat)
                self._changed("problem")
            elif news.opened is not None:
                self._show(news.opened)
                self._follow()
            self._seen_changes = news.changes
            return True

    # The tree of the conversation.

    async def walk(self, message: str, step: int) -> str:
        """Show another version of a message, `step` after it; return that version, or itself if there is none.

        Raises StoreError.
        """
        async with self._moving:
            place, chat = opened.place_of(self.branch, message), self.branch[0].conversation
            head = await asyncio.to_thread(tree.walk, self.store, chat, message, step)
            if head != self.branch[-1].id:
                await self._turn_to(chat)
            return self.branch[place].id

    async def throw_away(self, message: str) -> str | None:
        """Delete a message and what is below it; return what `take_back` needs to show all as it was.

        Raises StoreError.
        """
        async with self._moving:
            chat = self.branch[opened.place_of(self.branch, message)].conversation
            head = await asyncio.to_thread(tree.throw_away_message, self.store, message)
            try:
                await self._turn_to(chat)
            except StoreError:
                self._seen_changes = -1  # It is done, and can be taken back: the next look shows it.
            return head

    async def take_back(self, conversation: str, message: str, head: str | None) -> None:
        """Undo `throw_away`, and show the conversation. Raises StoreError."""
        async with self._moving:
            await asyncio.to_thread(tree.take_back_message, self.store, message, head)
            await self._turn_to(conversation)

    # Asking.

    async def send(self, text: str) -> None:
        """Commit a question and have it answered. Raises Problem (StoreError, no model), and then nothing was sent.

        While an answer is on its way this and the next three do nothing.
        """
        async with self._moving:
            target, asking = self.wanted.needed(), self.wanted.asking
            chat = self.conversation.id if self.conversation else None
            if not self.busy:
                await self._begin(target, lambda answer: self.store.begin(answer, target.asked, text, chat, asking))

    async def edit(self, question: str, text: str) -> None:
        """Have another version of a question answered, beside it. Raises Problem, and then nothing was sent."""
        async with self._moving:
            target, old = self.wanted.needed(), self.branch[opened.place_of(self.branch, question)]
            if not self.busy:
                await self._begin(target, lambda answer: tree.begin_edit(self.store, answer, target.asked, old, text))

    async def retry(self, message: str | None = None) -> None:
        """Have a question answered once more, beside the answer it has: the last one, or that of `message`.

        Raises Problem.
        """
        async with self._moving:
            target, question = self.wanted.needed(), opened.question_of(self.branch, message)
            if question is not None and not self.busy:
                await self._begin(target, lambda answer: self.store.begin_again(answer, target.asked, question, None))

    async def do_again(self) -> None:
        """Ask once more for what just failed: the last answer, or else the loading. Raises Problem."""
        last = self.branch[-1] if self.branch else None
        if self.failure is not None and last is not None and last.error == self.failure:
            await self.retry()
        else:
            self.choose(self.wanted.some())

    async def resume(self) -> None:
        """Go on with the last answer where it was cut off; in a larger context if its own is full. Raises Problem."""
        async with self._moving:
            target, last = self.wanted.needed(), self.branch[-1] if self.branch else None
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
        if self.remedies.busy:
            self.remedies.stop()
        elif self.running.busy:
            await self.running.stop()
        else:
            await self._link.stop_warming()

    async def answer_now(self) -> bool:
        """Let the model close its thought and answer with what it has; say whether there was a thought to close."""
        return self.can("answer_now") and await self.running.answer_now()

    # The model.

    def choose(self, target: Target, *, evict: launch.Evict = "idle") -> None:
        """Answer with this model from now on, and load it; while an answer runs, after its end."""
        self.target, self.problem, self.failure = target, None, None  # As this chat asks for it.
        self.remedies.stop()
        self.remedies.drop()
        self._changed("model")
        if not self.running.busy:
            self._link.warm(self.target, evict)

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
        if self.running.busy:
            return
        begun = await turn.on_disk(self.store, commit)
        self._take(begun.opened)
        self.remedies.drop()
        self.problem = None
        self.running.begin(begun, turn.request(begun, target), target)

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
            self.wanted.grow(again.context)
            self._changed("model")

    def _ended(self, found: Opened, answer: Answer, asked: Target | None) -> None:
        """Show what is in the store, and do what an answer that is over calls for."""
        self._show(found)
        none_loaded = self.status is None or self.status.loaded is None
        if self.wanted.shrink(failed=answer.failed is not None and none_loaded):
            self._changed("model")  # The larger context could not be had.
        target = self.wanted.still(asked)
        if answer.failed is None or target is None:
            self._link.renew(self.target)
        elif answer.failed.kind == ContextOverflow.kind:
            self.remedies.measure(target, found.branch[-1], found.branch[:-1])
        else:
            self._failed(answer.failed)

    def _follow(self) -> None:
        """If the last answer is still being generated somewhere, follow it."""
        if self.branch and self.branch[-1].state == "streaming" and not self.busy:
            self.problem = None
            self.running.follow(self.branch[-1])

    async def _turn_to(self, conversation: str) -> None:
        """Show a conversation as the store has it."""
        found = await asyncio.to_thread(opened.read, self.store, conversation)
        await self._let_go()
        self._show(found)
        self._follow()

    async def _empty(self) -> None:
        await self._let_go()
        self.conversation, self.branch, self.versions = None, [], {}
        self.wanted.show(None)
        self._changed("branch")

    def _take(self, found: Opened) -> None:
        self.conversation, self.branch, self.versions = found.conversation, found.branch, found.versions
        self.wanted.show(found.conversation)

    def _show(self, found: Opened) -> None:
        self._take(found)
        self._changed("branch")
        overflow = self.remedies.overflow
        if overflow is not None and (not self.branch or self.branch[-1].id != overflow.answer):
            self.remedies.drop()

    async def _let_go(self) -> None:
        """Stop following the answer; it goes on in its host."""
        await self.running.let_go()
        await self.remedies.let_go()

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
