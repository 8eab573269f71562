"""A server on the loopback that says exactly what a test wants it to, byte for byte, plain or over TLS."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from backends.http.client import client_options
from backends.http.sockets import Sockets
from backends.origins import Access, origin_of

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Line:
    """One connection, as the server sees it. `number` counts from 0."""

    def __init__(self, server: RawServer, sock: socket.socket, number: int) -> None:
        self.number = number
        self._server = server
        self._socket = sock

    def hear(self) -> bytes:
        """Read a request's head and note it; b"" where the client has left."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self._socket.recv(1)
            if not byte:
                return b""
            head += byte
        self._server.heard.append(head.decode())
        return head

    def say(self, data: bytes) -> None:
        self._socket.sendall(data)

    def wait(self) -> None:
        """Say nothing until the client leaves, or the test ends."""
        while self._socket.recv(4096):
            pass

    def answer_all(self, reply: bytes = OK) -> None:
        while self.hear():
            self.say(reply)


Script = Callable[[Line], None]


class RawServer:
    """Runs `script` for each connection in a thread of its own, then closes it. `heard` are the heads of requests."""

    def __init__(self, script: Script = Line.answer_all, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.heard: list[str] = []
        self.lines = 0
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> RawServer:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in [self._listening, *self._open]:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                line, self.lines = self.lines, self.lines + 1
                self._open.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock, line), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as closing:
            closing.callback(sock.close)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.append(sock)
                closing.callback(sock.close)
            self.script(Line(self, sock, number))


class Caller:
    """An HTTP client as the backends make it, for one server."""

    def __init__(self, url: str, key: str = "", ca_file: str = "", **options: Any) -> None:
        self.url = url
        self.sockets = Sockets()
        access = Access(origin_of(url), key, ca_file)
        self.client = httpx.Client(**client_options(access, self.sockets, **options))

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, path: str = "/", **extensions: Any) -> httpx.Response:
        return self.client.get(self.url + path, extensions=extensions)

    def request(self) -> httpx.Request:
        return self.client.build_request("GET", self.url)


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate of our own for 127.0.0.1; return its file and a server's context. Skips where nothing can."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    try:
        _by_package(cert, key)
    except ImportError:
        if not shutil.which("openssl"):
            pytest.skip("neither the package cryptography nor the command openssl is here to make a certificate")
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
        names = ["-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*command.split(), *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


def _by_package(cert: Path, key: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
