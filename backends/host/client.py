"""A connection to a host, for an event loop: send a request, watch an answer's records, know when the host dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from backends import read_errors
from backends.base import Cancelled, ChatRequest, Message
from backends.errors import BackendError, EngineDied, from_info
from backends.fitting import Fit
from backends.host.linesocket import LineSocket, connect
from backends.host.wire import (
    LOAD_STOPPED,
    PROTOCOL,
    AnswerNow,
    Attach,
    Chat,
    Counted,
    CountTokens,
    Forget,
    Hello,
    Record,
    Refused,
    Request,
    Shutdown,
    Status,
    StopAnswer,
    StopLoad,
    Unsaved,
    Welcome,
    decode_reply,
    encode,
)

HELLO_S = 5.0
LOG_END_BYTES = 16 * 1024
_DOING = {
    "loading": "while loading the model",
    "prefill": "while reading the prompt",
    "decode": "while answering",
}


class HostEnded(Exception):
    """The host ended in order (idle too long, or another model was wanted) before it took the request."""


class HostClient:
    """One open connection. `status` is the host's last word; the `on_…` callbacks hear what changes."""

    def __init__(self, socket: LineSocket, folder: Path) -> None:
        self.folder = folder
        self.status = Status("loading")
        self.on_status: Callable[[Status], None] | None = None
        self.on_unsaved: Callable[[Unsaved], None] | None = None
        self.on_sent: Callable[[str], None] | None = None
        self.on_closed: Callable[[], None] | None = None
        self._socket = socket
        self._welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._greeted = asyncio.Event()
        self._news = asyncio.Event()
        self._records: dict[str, asyncio.Queue[Record | Refused | None]] = {}
        self._counts: dict[int, asyncio.Future[Fit | None]] = {}
        self._numbers = itertools.count()
        self._closed = False
        self._readable = False
        self._refused = False
        self._reader = asyncio.create_task(self._read())

    @property
    def welcome(self) -> Welcome:
        return self._welcome.result()

    @property
    def connected(self) -> bool:
        return not self._closed

    @property
    def readable(self) -> bool:
        """Whether the host's status is in words that this build knows."""
        return self._readable

    async def greet(self, build: str) -> None:
        """Say hello and wait for the host's name and first status. Raises EngineDied, TimeoutError."""
        async with asyncio.timeout(HELLO_S):
            await self._send(Hello(PROTOCOL, build))
            await asyncio.shield(self._welcome)
            await self._greeted.wait()
        if self._closed:
            raise self.died()

    async def chat(self, answer: str, request: ChatRequest, spool: int | None) -> AsyncIterator[Record]:
        """Send a question and yield its records to the last one.

        `spool` is the locked spool's descriptor; it is closed here once the host has its own.
        Raises EngineDied if the process goes, HostEnded if it had ended in order before it took the question.
        """
        try:
            self._records[answer] = asyncio.Queue()
            await self._send(Chat(answer, request, spooled=spool is not None), spool)
            if self.on_sent is not None:
                self.on_sent(answer)  # The host gets it from here on, even if this process ends at once.
        except EngineDied as error:
            del self._records[answer]
            if self.status.phase == "ending":
                raise HostEnded from error
            raise
        finally:
            if spool is not None:
                os.close(spool)
        async for record in self._watch(answer):
            yield record

    async def attach(self, answer: str, start: int = 0) -> AsyncIterator[Record]:
        """Yield the records of a running answer from number `start` on. Raises like `chat`; BackendError if unknown."""
        self._records[answer] = asyncio.Queue()
        await self._send(Attach(answer, start))
        async for record in self._watch(answer):
            yield record

    async def stop(self, answer: str) -> None:
        with contextlib.suppress(EngineDied):
            await self._send(StopAnswer(answer))

    async def stop_load(self) -> None:
        with contextlib.suppress(EngineDied):
            await self._send(StopLoad())

    async def shutdown(self, *, force: bool = False) -> bool:
        """Ask the host to end; say whether it will. Without `force` a busy one refuses."""
        self._refused = False
        with contextlib.suppress(BackendError, TimeoutError):
            await self._send(Shutdown(force))
            async with asyncio.timeout(HELLO_S):
                while not (self._refused or self._closed or self.status.phase == "ending"):
                    self._news.clear()
                    await self._news.wait()
        return not self._refused

    async def answer_now(self, answer: str) -> None:
        """Let a thinking answer close its thought and say what it has."""
        with contextlib.suppress(EngineDied):
            await self._send(AnswerNow(answer))

    async def fit(self, messages: Sequence[Message]) -> Fit:
        """Count a conversation and see what of it the context takes; waits until the engine is free.

        Raises BackendError.
        """
        number = next(self._numbers)
        counted = await self._counted(CountTokens(number, tuple(messages)))
        if counted is None:
            raise BackendError("The host did not count", "Its reply had no figures.", "Try again.")
        return counted

    async def forget(self, chat: str) -> None:
        """Let the host keep no state of a conversation. Raises BackendError."""
        await self._counted(Forget(next(self._numbers), chat))

    async def _counted(self, request: CountTokens | Forget) -> Fit | None:
        future: asyncio.Future[Fit | None] = asyncio.get_running_loop().create_future()
        self._counts[request.id] = future
        await self._send(request)
        return await future

    async def loaded(self) -> Status:
        """Wait until the model is loaded; return that status. Raises Cancelled if it was stopped, BackendError."""
        while self.status.phase == "loading" and not self._closed:
            self._news.clear()
            await self._news.wait()
        if self.status.error is not None:
            raise Cancelled if self.status.error.kind == LOAD_STOPPED else from_info(self.status.error)
        if self._closed:
            raise self.died()
        return self.status

    async def close(self) -> None:
        self.on_closed = None  # It is no loss.
        self._reader.cancel()
        await asyncio.wait([self._reader])
        self._finish()

    def died(self) -> BackendError:
        """Say how the host went, as an error for the user."""
        if self.status.error is not None:
            return from_info(self.status.error)
        known = self._welcome.done() and not self._welcome.cancelled() and self._welcome.exception() is None
        title = self.welcome.title if known else "The model"
        unread = read_errors.found(_log_end(self.folder))
        if unread is not None:
            return read_errors.problem(unread, title)
        doing = _DOING.get(self.status.phase, "")
        last = last_words(self.folder)
        return EngineDied(
            f"{title}: its process ended {doing}".rstrip(),
            f"Its last words: {last}" if last else "It was killed or crashed without a word.",
            "What was said is kept. Retry starts it again.",
        )

    # The reader.

    async def _send(self, request: Request, descriptor: int | None = None) -> None:
        if self._closed:
            raise self.died()
        try:
            await self._socket.send(encode(request), descriptor)
        except OSError as error:
            # What it said before it went says why.
            await asyncio.wait([self._reader], timeout=HELLO_S)
            raise self.died() from error

    async def _watch(self, answer: str) -> AsyncIterator[Record]:
        records = self._records[answer]
        seen = False
        if self._closed:
            records.put_nowait(None)
        try:
            while True:
                item = await records.get()
                if isinstance(item, Refused):
                    raise from_info(item.error)
                if item is None:
                    if self.status.phase == "ending" and not seen:
                        raise HostEnded
                    raise self.died()
                seen = True
                yield item
                if item.final:
                    return
        finally:
            self._records.pop(answer, None)

    async def _read(self) -> None:
        try:
            while (line := await self._socket.read()) is not None:
                try:
                    self._take(line)
                except msgspec.MsgspecError:
                    # A newer host may say things that this client does not know, its status among them.
                    if self._welcome.done():
                        self._greeted.set()
        except (OSError, ValueError):
            pass
        finally:
            self._finish()

    def _take(self, line: bytes) -> None:
        match reply := decode_reply(line):
            case Record(answer=answer):
                if answer in self._records:
                    self._records[answer].put_nowait(reply)
            case Status():
                self.status = reply
                self._readable = True
                self._greeted.set()
                if self.on_status is not None:
                    self.on_status(reply)
                self._news.set()
            case Welcome():
                if not self._welcome.done():
                    self._welcome.set_result(reply)
            case Counted(id=number, fit=fit, error=error):
                future = self._counts.pop(number, None)
                if future is not None and not future.done():
                    if error is None:
                        future.set_result(fit)
                    else:
                        future.set_exception(from_info(error))
            case Refused(answer=None):
                self._refused = True
                self._news.set()
            case Refused(answer=answer):
                if answer in self._records:
                    self._records[answer].put_nowait(reply)
            case Unsaved():
                if self.on_unsaved is not None:
                    self.on_unsaved(reply)

    def _finish(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._socket.close()
        for records in self._records.values():
            records.put_nowait(None)
        waited_for: list[asyncio.Future[Any]] = [self._welcome, *self._counts.values()]
        for future in waited_for:
            if not future.done():
                future.set_exception(self.died())
                future.exception()  # Nobody may be waiting for it.
        self._greeted.set()
        self._news.set()
        if self.on_closed is not None:
            self.on_closed()


async def open_client(folder: Path, build: str) -> HostClient:
    """Connect to the host in `folder` and greet it; with `build` "" only to look, which does not keep it alive.

    Raises OSError, EngineDied or TimeoutError if it is not there.
    """
    client = HostClient(await connect(folder), folder)
    try:
        await client.greet(build)
    except BaseException:
        await client.close()
        raise
    return client


def last_words(folder: Path, limit: int = 300) -> str:
    """Return the last line of a host's log, "" if there is none."""
    lines = _log_end(folder).strip().splitlines()
    return lines[-1][:limit] if lines else ""


def _log_end(folder: Path) -> str:
    try:
        with (folder / "log").open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - LOG_END_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        return ""
