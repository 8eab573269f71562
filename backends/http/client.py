"""An HTTP client for one origin: its key and certificates, no redirects, bounded replies, stoppable at any moment."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from backends.base import Cancel
from backends.http.sockets import Sockets
from backends.http.transport import transport
from backends.origins import Access

if TYPE_CHECKING:
    import httpx

CONNECT_S = 5.0
SILENCE_S = 1800.0
"""Reading a long prompt on a slow processor takes minutes, loading from a slow disk too; whoever waits can stop it."""
REPLY_LIMIT = 64 * 1024 * 1024
STREAMED = "deepseek_tui_streamed"
"""A request's extension: its reply comes in lines that are bounded one by one."""
_EXPANDS = 1024  # what deflate makes of a byte at most
_AGAIN_S = 0.05


def client_options(access: Access, sockets: Sockets, silence_s: float = SILENCE_S) -> dict[str, Any]:
    """Return what `httpx.Client`, or a client built on it, is made with.

    Raises BadOptions for certificates or a proxy that cannot be used.
    """
    import httpx

    key = {"authorization": f"Bearer {access.key}"} if access.key else {}
    return {
        "headers": {"accept-encoding": "identity", **key},  # A small reply must not become an endless one.
        "follow_redirects": False,  # A key belongs to its origin.
        "timeout": httpx.Timeout(silence_s, connect=min(CONNECT_S, silence_s)),
        "trust_env": False,  # A proxy must not see what stays on this machine; the transport knows which may.
        "transport": transport(access, sockets),
        "event_hooks": {"request": [sockets.hook], "response": [_bound]},
    }


def sent(client: httpx.Client, request: httpx.Request, sockets: Sockets, *, stream: bool = False) -> httpx.Response:
    """Send a request; once more where it went into a kept connection that the server was just closing.

    Raises what `httpx.Client.send` raises.
    """
    import httpx

    before = sockets.state
    try:
        return client.send(request, stream=stream)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
        if sockets.state != before:
            raise  # the connection was a new one, or somebody ended the request
        return client.send(request, stream=stream)


@contextlib.contextmanager
def stoppable(shut: Callable[[], None], cancel: Cancel) -> Iterator[None]:
    """Let `cancel` end what is waited for inside the block, also what begins there later, and nothing after it."""
    left, lock = threading.Event(), threading.Lock()

    def shut_inside() -> None:
        with lock:
            if not left.is_set():
                shut()

    def repeat() -> None:
        while not left.wait(_AGAIN_S):
            shut_inside()

    def stop() -> None:
        shut_inside()
        # A request that was just about to begin has not been ended by that.
        threading.Thread(target=repeat, name="stop", daemon=True).start()

    cancel.on_set(stop)
    try:
        yield
    finally:
        with lock:
            left.set()


def _bound(answer: httpx.Response) -> None:
    """Limit what a whole reply may hold: one without an end must not fill the memory."""
    if answer.request.extensions.get(STREAMED) and answer.is_success:
        return  # its lines are bounded
    import httpx

    source = answer.stream
    if not isinstance(source, httpx.SyncByteStream):
        return
    pieces, close = iter(source), source.close
    most = REPLY_LIMIT // _EXPANDS if "content-encoding" in answer.headers else REPLY_LIMIT

    class Bounded(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            room = most
            for piece in pieces:
                room -= len(piece)
                if room < 0:
                    raise httpx.DecodingError(f"the reply is longer than {REPLY_LIMIT >> 20} MiB")
                yield piece

        def close(self) -> None:
            close()

    answer.stream = Bounded()
