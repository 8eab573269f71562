"""One `ask` from its question to its exit status: saved, sent, printed as it comes, stopped when asked to."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Coroutine
from typing import Any

from backends.base import ChatRequest, Message
from backends.errors import ContextOverflow, ErrorInfo
from backends.host import launch
from backends.host.client import HostClient
from backends.host.wire import Status
from tui.chat import recovery, thrash, turn
from tui.chat.answer import Answer
from tui.chat.asking import NOTHING
from tui.chat.asking import Asking as Wish
from tui.chat.storing import paging
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Conversation, StoreError, new_id
from tui.chat.target import Target
from tui.chat.thrash import Strain, Watch
from tui.commands import output
from tui.commands.printing import Printer
from tui.commands.progress import Progress
from tui.commands.stream import Output
from tui.hang_up import HangUp

_CUT = {
    "length": "The answer ends here: its token limit was reached.",
    "context": "The answer ends here: the context is full.",
}


def going_on(store: Store, named: str) -> Conversation:
    """Return the chat of this name, to be gone on with. Raises StoreError, also while it is being answered."""
    chat = paging.named(store, named)
    recovery.take_in_all(store)
    branch = store.branch(chat.id)
    if branch and branch[-1].state == "streaming":
        raise StoreError(
            "An answer in this chat is still being written",
            repr(chat.id),
            "Wait for its end, or stop it on the screen.",
        )
    return chat


class Asking:
    """One question, in a chat or in one of its own, which asks of its model what `wish` says.

    Without `store` nothing of it is written to disk.
    """

    def __init__(
        self,
        target: Target,
        store: Store | None,
        printer: Printer,
        chat: Conversation | None = None,
        wish: Wish = NOTHING,
        *,
        thoughts: bool,
        quiet: bool,
    ) -> None:
        self._target = target
        self._store = store
        self._printer = printer
        self._chat = chat.id if chat is not None else None
        self._wish = wish
        self._thoughts = thoughts
        self._quiet = quiet
        self._progress = Progress(quiet=quiet)
        self._memory = Watch()
        self._output = Output()
        self._id = new_id()
        self._answer = Answer()
        self._evict: launch.Evict = "idle"
        self._client: HostClient | None = None
        self._generating: asyncio.Task[None] | None = None
        self._interrupted = False
        self._unwritten: OSError | None = None
        self._hang_up: HangUp | None = None
        self._pending = b""
        self._stopping = False
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, text: str, *, evict: launch.Evict = "idle") -> int:
        """Ask and print; return the exit status. Raises StoreError, and then nothing was sent or its end not saved."""
        self._evict = evict
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup(1) ignores it
            self._hang_up = HangUp(screen=False)
        begun = self._save(text)
        conversation, descriptor = (None, None) if begun is None else (begun.row.conversation, begun.descriptor)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        self._generating = asyncio.create_task(self._generate(self._request(text, begun), descriptor))
        try:
            await self._generating
        except asyncio.CancelledError:
            turn.stop(self._answer)
        self._answer.failed = _for_a_command_line(self._answer.failed, self._chat)
        try:
            if self._store is not None:
                turn.finish(self._store, self._id, self._answer)
        finally:
            self._progress.clear()
            message = self._id if conversation else None
            await self._print(self._printer.end(self._answer, conversation, message))
            if self._client is not None:
                await self._client.close()
        return self._status()

    def _save(self, text: str) -> turn.Begun | None:
        """Commit the question; return what is on disk then, and its locked spool."""
        if self._store is None:
            return None
        asked, store, chat, wish = self._target.asked, self._store, self._chat, self._wish
        return turn.begin(store, self._id, lambda answer: store.begin(answer, asked, text, chat, wish))

    def _request(self, text: str, begun: turn.Begun | None) -> ChatRequest:
        """Return what is sent. Nothing of a single question is kept in the engine for a next one."""
        if begun is not None and self._chat is not None:
            return turn.request(begun, self._target)
        system = (Message("system", self._target.system),) if self._target.system else ()
        return ChatRequest((*system, Message("user", text)), self._target.sampling, self._target.reasoning)

    async def _generate(self, request: ChatRequest, descriptor: int | None) -> None:
        async for answer in turn.generate(self._id, request, self._connect, descriptor, self._answer):
            self._progress.answer(answer, thoughts=self._thoughts)
            client = self._client
            strain = self._memory.look(answer, client.status.loaded) if client is not None else None
            if client is not None and strain is not None:
                self._soon(self._strained(strain, client.welcome.pid))
            await self._print(self._printer.answer(answer))

    async def _strained(self, strain: Strain, pid: int) -> None:
        short = await asyncio.to_thread(thrash.why, strain, pid)
        if not self._answer.finished:
            self._progress.strained(strain, short, self._answer, thoughts=self._thoughts)
            await self._print(self._printer.strained(strain, short))

    async def _connect(self) -> HostClient:
        if self._client is not None:
            await self._client.close()
            self._client = None
        if self._stopping:
            # The host that was told to stop has ended instead; no other is started.
            raise asyncio.CancelledError
        client = self._client = await turn.obtain(self._target.spec, self._step, evict=self._evict)
        client.on_status = self._status_changed
        self._status_changed(client.status)
        return client

    # What is heard, and said.

    def _step(self, step: launch.LaunchStep) -> None:
        self._progress.step(self._target.title, step)
        self._pending += self._printer.step(step)
        self._soon(self._print(b""))

    def _status_changed(self, status: Status) -> None:
        self._progress.status(self._target.title, status, self._id)
        self._pending += self._printer.status(status)
        self._soon(self._print(b""))

    async def _print(self, data: bytes) -> None:
        """Write what waits, then `data`; when it cannot be written the answer is stopped, but still taken in whole.

        A terminal that is gone stops nothing: that may be seen here before its signal is.
        """
        async with self._writing:
            data, self._pending = self._pending + data, b""
            if not data or self._unwritten is not None:
                return
            try:
                await self._output.write(data)
            except OSError as error:
                self._unwritten = error
                if self._hang_up is not None and self._output.terminal and error.errno == errno.EIO:
                    self._hang_up.gone()
                else:
                    self._stop()

    # Stopping.

    def _interrupt(self) -> None:
        if self._interrupted:
            self._progress.clear()
            os._exit(output.STOPPED)
        self._interrupted = True
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        if self._client is not None:
            self._soon(self._ask_to_stop(self._client))
        elif self._generating is not None:
            self._generating.cancel()

    async def _ask_to_stop(self, client: HostClient) -> None:
        await client.stop(self._id)
        await client.stop_load()

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _status(self) -> int:
        """Tell on stderr what did not go as it should, and return the exit status."""
        failed, done = self._answer.failed, self._answer.done
        if isinstance(self._unwritten, BrokenPipeError):
            output.forget_stdout()
            return output.STOPPED
        if self._unwritten is not None:
            output.forget_stdout()
            why = self._unwritten.strerror or str(self._unwritten)
            kept = "" if self._store is None else "`deepseek-tui chats show` has what was said."
            output.say_error(ErrorInfo("problem", "The answer could not be written to stdout", why, kept))
            return output.FAILED
        if failed is not None:
            if not self._quiet:
                output.say_error(failed)
            return output.STOPPED if failed.kind == "cancelled" else output.FAILED
        reason = done.reason if done is not None else "stopped"
        if reason in _CUT and not self._quiet:
            output.warn(_CUT[reason])
        return output.STOPPED if reason == "stopped" else output.DONE


def _for_a_command_line(error: ErrorInfo | None, chat: str | None) -> ErrorInfo | None:
    """Return an error with what can be done about it here, where there is one question and no screen."""
    if error is None or error.kind != ContextOverflow.kind:
        return error
    if chat is not None:
        hint = f"The screen can leave out its beginning, or sum it up: deepseek-tui -c {chat[:8]}"
        return ErrorInfo(error.kind, error.title, error.detail, hint)
    hint = "Ask with less text, or with a larger context: --context, or another preset (-p)."
    return ErrorInfo(error.kind, "The question does not fit into the context", error.detail, hint)
