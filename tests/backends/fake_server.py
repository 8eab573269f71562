"""What the scripted servers share: a thread that serves, and how a reply, a stream and a broken line are written."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class FakeServer:
    """Serves in a thread, inside a `with` block, and keeps what it was asked.

    `fault` may answer a request instead of it, and then returns True. `left` holds the paths of requests that the
    client gave up.
    """

    def __init__(
        self,
        handler: type[StreamHandler],
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.left: list[str] = []
        self.fault: Callable[[Any, str, dict[str, Any]], bool] = lambda *_: False
        outer = self

        class Bound(handler):  # type: ignore[valid-type, misc]
            fake = outer

        class Quiet(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, *_: object) -> None:
                """A client that leaves is what tests do."""

        self._server = Quiet((host, port), Bound)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.host = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.root = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class StreamHandler(BaseHTTPRequestHandler):
    """Writes replies whole, in chunks, or not to their end. `stream_type` is what it calls its streams."""

    fake: Any
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    stream_type = ""

    def log_message(self, *_: object) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(size) or b"{}")
        self.fake.asked.append((self.path, body))
        self.fake.headers.append({name.lower(): value for name, value in self.headers.items()})
        try:
            if not self.fake.fault(self, self.path, body):
                self.answer(body)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.fake.left.append(self.path)
            self.close_connection = True

    def answer(self, body: dict[str, Any]) -> None:
        """Answer a request that no fault has answered."""
        raise NotImplementedError

    def reply(self, status: int, body: Any, kind: str = "application/json", **headers: str) -> None:
        content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", self.stream_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def data(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def die(self) -> None:
        """Close the line in the middle of whatever was being said."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float) -> None:
        """Take so long, unless the client leaves."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.connection], [], [], min(left, 0.02))[0] and not self._peeked():
                raise BrokenPipeError

    def _peeked(self) -> bytes:
        with contextlib.suppress(OSError):
            return self.connection.recv(1, socket.MSG_PEEK)
        return b""
