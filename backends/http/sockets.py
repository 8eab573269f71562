"""The sockets that an HTTP client has open, so that another thread can end whatever it waits for."""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

_OPENED = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")


class Sockets:
    """Put `hook` among the client's request hooks; then `shut` ends its requests, those that still connect included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._shuts = 0
        self._opened = 0

    @property
    def state(self) -> tuple[int, int]:
        """Changes whenever a connection is opened, and whenever requests are ended."""
        return self._opened, self._shuts

    def hook(self, request: httpx.Request) -> None:
        """Note each socket that is opened for a request."""
        begun = self._shuts

        def trace(event: str, info: dict[str, Any]) -> None:
            if not event.endswith(_OPENED):
                return
            found = info["return_value"].get_extra_info("socket")
            if isinstance(found, socket.socket):
                with self._lock:
                    self._opened += 1
                    self._open.add(found)
                    late = self._shuts != begun
                if late:
                    _shut(found)

        request.extensions["trace"] = trace

    def shut(self) -> None:
        """End every request that has begun. The client can be used again. Any thread may call it."""
        with self._lock:
            self._shuts += 1
            found = list(self._open)
        for one in found:
            _shut(one)


def _shut(one: socket.socket) -> None:
    # A TLS socket's own `shutdown` takes its TLS state away under the thread that reads.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(one, socket.SHUT_RDWR)
