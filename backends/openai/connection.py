"""The talk with one OpenAI-compatible server: each request bounded, stoppable from any thread, each failure typed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from backends.errors import Unauthorized
from backends.http.client import SILENCE_S, STREAMED, client_options, sent
from backends.http.failures import UnknownAddress, refusal, unreachable
from backends.http.lines import bounded_lines
from backends.http.sockets import Sockets
from backends.openai.dialect import garbage
from backends.origins import access, place_of

LINE_LIMIT = 16 * 1024 * 1024
_ENDINGS = ("/chat/completions", "/completions", "/models")


class Connection:
    """One server. Blocking; `shut` may be called from any thread and ends whatever is being waited for."""

    def __init__(self, base_url: str, silence_s: float = SILENCE_S) -> None:
        """Connects only when asked something. Raises NewOrigin, Unauthorized, BadOptions."""
        import httpx

        self.base = _trimmed(base_url)
        allowed = access(self.base)  # first of all: it says what is no address
        parts = urlsplit(self.base)
        self.host = parts.hostname or ""
        self.server = parts.netloc
        self.origin = allowed.origin
        self.place = place_of(allowed.origin)
        self.refused_fields: set[str] = set()
        self._keyless = not allowed.key
        self._sockets = Sockets()
        self._http = httpx.Client(**client_options(allowed, self._sockets, silence_s))

    @property
    def root(self) -> str:
        """The address of what stands beside the protocol's own part."""
        return self.base.removesuffix("/v1")

    def find_base(self) -> bytes:
        """Find out whether the address wants /v1 at its end, and return the list of models. Raises BackendError."""
        if self.base.endswith("/v1"):
            return self.get("/models")
        # With it first: beside it, llama-server has addresses of the same names that speak otherwise.
        bare, self.base = self.base, f"{self.base}/v1"
        try:
            return self.get("/models")
        except UnknownAddress:
            self.base = bare
            return self.get("/models")

    def get(self, path: str, *, beside: bool = False) -> bytes:
        """Ask for one whole answer; `beside` the protocol's own part. Raises BackendError."""
        with self._typed(), contextlib.closing(self._sent("GET", self._address(path, beside))) as answer:
            self._check(answer, "")
            content: bytes = answer.content
            return content

    def post(self, path: str, body: Any, *, beside: bool = False) -> Any:
        """Ask with a JSON body for a JSON answer. Raises BackendError."""
        with self._typed(), contextlib.closing(self._sent("POST", self._address(path, beside), body)) as answer:
            self._check(answer, "")
            return decoded(answer.content, self.server)

    @contextlib.contextmanager
    def lines(self, path: str, body: Any, model: str) -> Iterator[Iterator[bytes]]:
        """Ask for an answer that comes line by line; leaving the block ends it. Raises BackendError."""
        with (
            self._typed(),
            contextlib.closing(self._sent("POST", self._address(path), body, stream=True)) as answer,
        ):
            self._check(answer, model)
            yield bounded_lines(answer.iter_bytes(), LINE_LIMIT)

    def shut(self) -> None:
        """End what is being waited for. May be called from any thread."""
        self._sockets.shut()

    def close(self) -> None:
        """Free all connections."""
        self._http.close()

    def _address(self, path: str, beside: bool = False) -> str:
        return (self.root if beside else self.base) + path

    def _sent(self, method: str, address: str, body: Any = None, *, stream: bool = False) -> Any:
        """Send a request, with a JSON body if there is one, and return the response. Raises what httpx does."""
        headers = {} if body is None else {"content-type": "application/json"}
        if stream:
            headers["accept"] = "text/event-stream"
        request = self._http.build_request(
            method,
            address,
            content=None if body is None else msgspec.json.encode(body),
            headers=headers,
            extensions={STREAMED: True} if stream else None,
        )
        return sent(self._http, request, self._sockets, stream=stream)

    def _check(self, answer: Any, model: str) -> None:
        """Raises BackendError unless the server agreed."""
        if answer.is_success:
            return
        error = refusal(answer.status_code, answer.read(), self.server, model=model, headers=answer.headers)
        if isinstance(error, Unauthorized):
            error.hint = f"Give it one: deepseek-tui origins add {self.origin} --key"
            error.title = f"{self.server} {'wants a key' if self._keyless else 'refuses the key'}"
        raise error

    @contextlib.contextmanager
    def _typed(self) -> Iterator[None]:
        """Turn the failures of the line into our errors."""
        import httpx

        try:
            yield
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            raise unreachable(error, self.server) from error


def decoded(body: bytes, server: str) -> Any:
    """Return decoded JSON. Raises ServerError."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise garbage(body, server) from error


def _trimmed(base_url: str) -> str:
    """Return an address without what people copy along with it."""
    base = base_url.strip().rstrip("/")
    for ending in _ENDINGS:
        base = base.removesuffix(ending)
    return base
