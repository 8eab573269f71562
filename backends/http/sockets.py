"""The sockets that an HTTP client has open, so that another thread can end whatever it waits for."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

_OPENS = ("connect_tcp.started", "connect_unix_socket.started")
_OPENED = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")


class Sockets:
    """Put `hook` among the client's request hooks; then `shut` ends its requests, those that still connect included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._opening: set[queue.SimpleQueue[Any]] = set()
        self._shuts = 0
        self._opened = 0

    @property
    def state(self) -> tuple[int, int]:
        """Changes whenever a connection is opened, and whenever requests are ended."""
        return self._opened, self._shuts

    def hook(self, request: httpx.Request) -> None:
        """Note each socket that is opened for a request."""
        if "trace" in request.extensions:
            return  # it is sent once more, and may have been ended in between
        begun = self._shuts
        plain: list[socket.socket] = []
        twins: list[socket.socket] = []

        def note(found: socket.socket, opened: int) -> None:
            with self._lock:
                self._opened += opened
                self._open.add(found)
                late = self._shuts != begun
            if late:
                _shut(found)

        def trace(event: str, info: dict[str, Any]) -> None:
            if event.endswith(_OPENS) and self._shuts != begun:
                raise _ended()
            if event.endswith("start_tls.started"):
                # TLS takes the socket over before it has greeted: until then only a twin can be shut.
                twins.extend(one.dup() for one in plain)
                for twin in twins:
                    note(twin, 0)
                plain.clear()
            if event.endswith(("start_tls.complete", "start_tls.failed")):
                while twins:
                    twins.pop().close()
            if event.endswith(_OPENED):
                found = info["return_value"].get_extra_info("socket")
                if isinstance(found, socket.socket):
                    plain[:] = [] if isinstance(found, ssl.SSLSocket) else [found]
                    note(found, 1)

        request.extensions["trace"] = trace

    def opened(self, connect: Callable[[], Any]) -> Any:
        """Return what `connect` returns, which has a `close`. Raises what it raises, and ConnectError after `shut`.

        It works on in the background then: nothing ends a look-up of a name, or the wait for a far machine.
        """
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def run() -> None:
            found: Any
            try:
                found = connect()
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                found = error
            with self._lock:
                wanted = answer in self._opening
                self._opening.discard(answer)
            if wanted:
                answer.put(found)
            elif not isinstance(found, BaseException):
                found.close()

        with self._lock:
            self._opening.add(answer)
        threading.Thread(target=run, name="connect", daemon=True).start()
        found = answer.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def shut(self) -> None:
        """End every request that has begun. The client can be used again. Any thread may call it."""
        with self._lock:
            self._shuts += 1
            opening, found = list(self._opening), list(self._open)
            self._opening.clear()
        for answer in opening:
            answer.put(_ended())
        for one in found:
            _shut(one)


def _ended() -> Exception:
    import httpcore

    return httpcore.ConnectError("the request was ended")


def _shut(one: socket.socket) -> None:
    # A TLS socket's own `shutdown` takes its TLS state away under the thread that reads.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(one, socket.SHUT_RDWR)
