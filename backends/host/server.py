"""The host's side of the socket: who is connected, what they may ask, and when the host ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from backends.errors import ErrorInfo
from backends.events import Done, Timings
from backends.fitting import Fit
from backends.host.answer import AnswerLog
from backends.host.engine import CountJob, Engine, ForgetJob
from backends.host.linesocket import LineSocket, peer_uid
from backends.host.metering import Metering
from backends.host.spool import SpoolWriter
from backends.host.wire import (
    PROTOCOL,
    AnswerNow,
    Attach,
    Chat,
    Counted,
    CountTokens,
    Failed,
    Forget,
    Hello,
    HostSpec,
    Refused,
    Reply,
    Request,
    Shutdown,
    Status,
    StopAnswer,
    StopLoad,
    Unsaved,
    Welcome,
    decode_request,
    encode,
)

STOP_GRACE_S = 0.1
FIRST_CLIENT_S = 10.0
PARTING_S = 0.05
PACE_S = 0.03
ACCEPT_AGAIN_S = 0.1
FAILED_LINGER_S = 2.0
KEPT_ANSWERS = 4
STUCK_STATUS = 70


class Connection:
    """One client: what it watches, and what it has not been sent yet.

    A client that does not read holds up nothing and costs no memory: records are taken from their log when it reads.
    """

    def __init__(self, socket_: LineSocket) -> None:
        self.socket = socket_
        self.watched: dict[str, int] = {}
        self.replies: list[Reply] = []
        self.status_due = False
        self.wake = asyncio.Event()
        self.only_looks = True  # until it greets as one who stays


class Server:
    """One host. Everything here runs in the event loop; the engine's thread only calls `_changed`."""

    def __init__(self, spec: HostSpec, key: str, listener: socket.socket) -> None:
        self._spec = spec
        self._key = key
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._engine = Engine(spec, self._changed)
        self._metering = Metering(self._engine)
        self._answers: dict[str, AnswerLog] = {}
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._stuck = False
        self._wake_pending = False
        self._spread_at = 0.0
        self._idle_since = time.monotonic()
        self._end_timer: asyncio.TimerHandle | None = None
        self._visited = False
        self._last_phase = self._engine.phase

    async def run(self) -> None:
        """Serve until idle for `keep_alive_s` without clients, told to end, or loading failed."""
        self._engine.start()
        self._arm_end()
        accepting = asyncio.create_task(self._accept())
        await self._ended.wait()
        accepting.cancel()
        self._listener.close()
        if self._engine.current is not None:
            self._engine.current.cancel.set()
        for log in self._open_answers():
            log.cancel.set()
            await self._close(log, Done("stopped", log.usage(), Timings()))
        self._tell_all()
        await asyncio.sleep(PARTING_S)
        await asyncio.to_thread(self._engine.quit)
        await asyncio.to_thread(self._engine.leave_rest)

    def end(self) -> None:
        self._ended.set()

    # Connections.

    async def _accept(self) -> None:
        while True:
            try:
                sock, _ = await self._loop.sock_accept(self._listener)
            except OSError as error:  # Out of descriptors, say: those who are connected go on.
                os.write(2, f"No new connection: {error}\n".encode())
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            if not _is_ours(sock):
                sock.close()
                continue
            connection = Connection(LineSocket(sock))
            self._connections.add(connection)
            self._spawn(self._serve(connection))

    async def _serve(self, connection: Connection) -> None:
        writer = asyncio.create_task(self._write(connection))
        try:
            while (line := await connection.socket.read()) is not None:
                try:
                    self._handle(connection, decode_request(line))
                except msgspec.MsgspecError as error:
                    # A spool that came with it must not be taken for the next answer's.
                    connection.socket.drop_descriptors()
                    self._reply(connection, Refused(ErrorInfo("protocol", "Not understood", str(error))))
        except (OSError, ValueError):
            pass  # The client is gone or talks nonsense: either way the connection ends here.
        finally:
            writer.cancel()
            connection.socket.close()
            self._connections.discard(connection)
            self._arm_end()
            if not connection.only_looks:
                self._tell_all()

    async def _write(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            while True:
                await connection.wake.wait()
                connection.wake.clear()
                replies, connection.replies = connection.replies, []
                lines = [encode(reply) for reply in replies]
                if connection.status_due:
                    connection.status_due = False
                    lines.append(encode(self._status()))
                for answer, sent in list(connection.watched.items()):
                    log = self._answers[answer]
                    finished = log.finished
                    fresh = log.lines[sent:]  # the engine's thread may add more at any moment
                    lines += fresh
                    connection.watched[answer] = sent + len(fresh)
                    if finished:
                        del connection.watched[answer]
                if lines:
                    await connection.socket.send(b"".join(lines))

    def _reply(self, connection: Connection, reply: Reply) -> None:
        connection.replies.append(reply)
        connection.wake.set()

    # Requests.

    def _handle(self, connection: Connection, request: Request) -> None:
        match request:
            case Hello(build=build):
                connection.only_looks = not build
                self._visited = self._visited or bool(build)
                spec = self._spec
                welcome = Welcome(PROTOCOL, spec.build, os.getpid(), self._key, spec.backend, spec.model, spec.title)
                self._reply(connection, welcome)
                connection.status_due = True
                self._arm_end()
            case Shutdown(force=force):
                if force or not self._busy():
                    self.end()
                else:
                    self._reply(connection, Refused(ErrorInfo("busy", "An answer is running")))
            case Chat():
                self._chat(connection, request)
            case Attach(answer=answer, start=start):
                if answer in self._answers:
                    connection.watched[answer] = max(0, start)
                    connection.wake.set()
                else:
                    self._reply(connection, Refused(ErrorInfo("unknown_answer", "No such answer here"), answer))
            case StopAnswer(answer=answer):
                if answer in self._answers:
                    self._spawn(self._stop(self._answers[answer]))
            case StopLoad():
                if self._engine.phase == "loading" and self._clients() <= 1:
                    self._engine.load_cancel.set()
            case AnswerNow(answer=answer):
                if answer in self._answers:
                    self._answers[answer].cancel.hurried = True
            case CountTokens(id=number, messages=messages):
                self._engine.submit(CountJob(messages, self._counted(connection, number)))
            case Forget(id=number, chat=chat):
                self._engine.submit(ForgetJob(chat, self._counted(connection, number)))

    def _chat(self, connection: Connection, chat: Chat) -> None:
        descriptor = connection.socket.take_descriptor() if chat.spooled else None
        refusal = ""
        if chat.spooled and descriptor is None:
            refusal = "The spool did not arrive"
        elif chat.answer in self._answers:
            refusal = "This answer exists already"
        if refusal or self._ended.is_set():
            # A host that ends takes nothing more; its client sees it end and asks a fresh one.
            if descriptor is not None:
                os.close(descriptor)
            if refusal:
                self._reply(connection, Refused(ErrorInfo("protocol", refusal), chat.answer))
            return
        spool: SpoolWriter | None = None
        if descriptor is not None:
            spool = SpoolWriter(descriptor, lambda why: self._threadsafe(self._unsaved, chat.answer, why))
        log = AnswerLog(chat, spool, self._changed)
        self._forget_old()
        self._answers[chat.answer] = log
        connection.watched[chat.answer] = 0
        self._engine.submit(log)
        current = self._engine.current
        if current is not None and current.closing:
            self._loop.call_later(self._spec.drain_s, self._die_if_stuck, current)
        self._arm_end()
        self._tell_all()

    async def _stop(self, log: AnswerLog) -> None:
        """Stop an answer. It closes for the user at once, even if the engine takes its time to come back."""
        log.cancel.set()
        running = log is self._engine.current
        if running:
            await asyncio.sleep(STOP_GRACE_S)
        if not log.closing:
            await self._close(log, Done("stopped", log.usage(), Timings()))
        self._arm_end()
        self._tell_all()
        if not running:
            return
        if any(other is not log for other in self._open_answers()):
            self._loop.call_later(self._spec.drain_s, self._die_if_stuck, log)

    async def _close(self, log: AnswerLog, event: Done | Failed) -> None:
        await asyncio.to_thread(log.close, event)

    def _die_if_stuck(self, log: AnswerLog) -> None:
        """End the process if the engine still sits in a stopped answer while others wait."""
        if self._engine.current is not log or not self._open_answers():
            return
        os.write(2, b"The engine did not come back after Stop; ending this process.\n")
        # Whoever waits is told that this host ends, and asks a fresh one.
        self._stuck = True
        self._tell_all()
        self._engine.leave_rest()
        self._loop.call_later(PARTING_S, os._exit, STUCK_STATUS)

    def _counted(self, connection: Connection, number: int) -> Callable[[Fit | ErrorInfo | None], None]:
        """Return what tells a client, from the engine's thread, what became of its request."""

        def reply(result: Fit | ErrorInfo | None) -> None:
            fit, error = (result, None) if isinstance(result, Fit) else (None, result)
            self._threadsafe(self._reply, connection, Counted(number, fit, error))

        return reply

    def _unsaved(self, answer: str, why: str) -> None:
        for connection in self._connections:
            self._reply(connection, Unsaved(answer, why))

    # State.

    def _open_answers(self) -> list[AnswerLog]:
        return [log for log in self._answers.values() if not log.closing]

    def _busy(self) -> bool:
        # An engine that has not come back from a stopped answer works for nobody.
        return self._engine.phase == "loading" or bool(self._open_answers())

    def _clients(self) -> int:
        return sum(not connection.only_looks for connection in self._connections)

    def _status(self) -> Status:
        engine, now = self._engine, time.monotonic()
        ending = self._stuck or (self._ended.is_set() and engine.error is None)
        current = engine.current.answer if engine.current is not None and not engine.current.closing else None
        ends_in = self._end_timer.when() - self._loop.time() if self._end_timer is not None else None
        return Status(
            "ending" if ending else engine.phase,
            engine.loaded,
            engine.progress,
            current,
            tuple(log.answer for log in self._open_answers() if log.answer != current),
            self._clients(),
            None if self._busy() else now - self._idle_since,
            ends_in,
            engine.error,
            tuple(log.answer for log in self._answers.values() if log.unsaved),
            self._metering.io,
        )

    def _changed(self, at_once: bool) -> None:
        """Note a change, from any thread."""
        if at_once:
            self._threadsafe(self._spread)
        elif not self._wake_pending:
            self._wake_pending = True
            self._threadsafe(self._spread_soon)

    def _spread_soon(self) -> None:
        """Tell of what changed, but not of every token on its own: to wake both sides costs more than to make one."""
        wait_s = self._spread_at + PACE_S - self._loop.time()
        if wait_s > 0:
            self._loop.call_later(wait_s, self._spread)
        else:
            self._spread()

    def _spread(self) -> None:
        self._wake_pending = False
        self._spread_at = self._loop.time()
        self._metering.look()
        phase = self._engine.phase
        if phase != self._last_phase:
            self._last_phase = phase
            self._idle_since = time.monotonic()
            self._arm_end()
            self._tell_all()
            if phase == "failed":
                self._loop.call_later(FAILED_LINGER_S, self.end)
        elif phase == "loading":
            self._tell_all()
        for connection in self._connections:
            if connection.watched:
                connection.wake.set()

    def _tell_all(self) -> None:
        for connection in self._connections:
            connection.status_due = True
            connection.wake.set()

    def _arm_end(self) -> None:
        """Set the timer that ends an idle host without clients, or take it back."""
        wanted = not self._clients() and not self._busy()
        if wanted and self._end_timer is None:
            # Whoever started this host is still on the way to it: a short keep-alive counts from its first client.
            stay_s = self._spec.keep_alive_s if self._visited else max(self._spec.keep_alive_s, FIRST_CLIENT_S)
            self._end_timer = self._loop.call_later(stay_s, self.end)
        elif not wanted and self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None

    def _forget_old(self) -> None:
        """Keep the records of the last few answers only: their spools hold them for the store."""
        finished = [answer for answer, log in self._answers.items() if log.finished and not log.unsaved]
        watched = {answer for connection in self._connections for answer in connection.watched}
        for answer in finished[: -KEPT_ANSWERS or None]:
            if answer not in watched:
                del self._answers[answer]

    def _threadsafe(self, callback: Any, *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: the host is ending.
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_ours(sock: socket.socket) -> bool:
    try:
        return peer_uid(sock) == os.getuid()
    except OSError:  # It has gone already, and some systems then do not say whose it was.
        return False


async def serve(spec: HostSpec, folder: Path, listener: socket.socket) -> None:
    """Run one host until it ends. `folder` names it."""
    server = Server(spec, folder.name, listener)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.end)
    loop.add_signal_handler(signal.SIGINT, server.end)
    await server.run()
