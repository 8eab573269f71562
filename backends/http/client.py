"""An HTTP client for one origin: its key and certificates, no redirects, bounded replies, stoppable at any moment."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.base import Cancel
from backends.errors import BadOptions
from backends.http.sockets import Sockets
from backends.origins import Access, is_local

if TYPE_CHECKING:
    import httpx

CONNECT_S = 5.0
SILENCE_S = 1800.0
"""Reading a long prompt on a slow processor takes minutes, loading from a slow disk too; whoever waits can stop it."""
REPLY_LIMIT = 64 * 1024 * 1024
STREAMED = "deepseek_tui_streamed"
"""A request's extension: its reply comes in lines that are bounded one by one."""


def client_options(access: Access, sockets: Sockets, silence_s: float = SILENCE_S) -> dict[str, Any]:
    """Return what `httpx.Client`, or a client built on it, is made with. Raises BadOptions for bad certificates."""
    import httpx

    return {
        "headers": {"authorization": f"Bearer {access.key}"} if access.key else {},
        "follow_redirects": False,  # A key belongs to its origin.
        "timeout": httpx.Timeout(silence_s, connect=min(CONNECT_S, silence_s)),
        "trust_env": not is_local(access.origin),  # A proxy must not see what stays on this machine.
        "verify": _certificates(access),
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
    """Let `cancel` end what is waited for inside the block, and nothing after it."""
    inside = [True]

    def stop() -> None:
        if inside:
            shut()

    cancel.on_set(stop)
    try:
        yield
    finally:
        inside.clear()


def _bound(answer: httpx.Response) -> None:
    """Limit what a whole reply may hold: one without an end must not fill the memory."""
    if answer.request.extensions.get(STREAMED) and answer.is_success:
        return  # its lines are bounded
    import httpx

    source = answer.stream
    if not isinstance(source, httpx.SyncByteStream):
        return
    pieces, close = iter(source), source.close

    class Bounded(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            room = REPLY_LIMIT
            for piece in pieces:
                room -= len(piece)
                if room < 0:
                    raise httpx.DecodingError(f"the reply is longer than {REPLY_LIMIT >> 20} MiB")
                yield piece

        def close(self) -> None:
            close()

    answer.stream = Bounded()


def _certificates(access: Access) -> Any:
    """Return what httpx is to verify servers with."""
    if not access.ca_file:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(Path(access.ca_file).expanduser())
    except (OSError, ssl.SSLError) as error:
        raise BadOptions(
            "The certificates for a server cannot be read",
            f"{access.ca_file}, for {access.origin}: {error}",
            "`ca_file` in config.toml must name a PEM file.",
        ) from error
    return context
