"""The talk with Hugging Face and with where it keeps its files: parts of files, in bounded time, each failure typed."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from backends.base import Cancel, Cancelled
from backends.errors import BadOptions
from backends.http.client import STREAMED, client_options, sent, stoppable
from backends.http.sockets import Sockets
from backends.hub import failures
from backends.hub.address import HubFile, certificates_of, hub_access
from backends.origins import Access, is_local, origin_of
from backends.shown import printable

if TYPE_CHECKING:
    import httpx

MAX_HOPS = 6
_MOVED = {301, 302, 303, 307, 308}
_PART, _BAD_RANGE = 206, 416
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_NOTHING = re.compile(r"bytes \*/0")
_REFUSAL_BYTES = 65_536
_SHA256, _COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


class Piece(msgspec.Struct, frozen=True):
    """A part of a file. `url` is where it came from in the end, `size` how long the whole file is in bytes.

    `etag` names the file's content as that server does. `commit` and `sha256` are what the hub says, "" where nothing.
    """

    data: bytes
    url: str
    size: int
    etag: str
    commit: str
    sha256: str


class Connection:
    """One talk, inside a `with` block: it ends `patience_s` seconds after its beginning, or when `cancel` is set."""

    def __init__(self, server: str, patience_s: float, cancel: Cancel | None = None) -> None:
        """Connects only when asked something. Raises Unauthorized, BadOptions for what the settings say of `server`."""
        self._access = hub_access(server)
        self._patience_s = patience_s
        self._cancel = cancel or Cancel()
        self._ended = Cancel()
        self._sockets = Sockets()
        self._clients: dict[str, httpx.Client] = {}
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Connection:
        self._deadline = time.monotonic() + self._patience_s
        timer = threading.Timer(self._patience_s, self._ended.set)
        timer.name, timer.daemon = "patience", True
        self._closing.callback(timer.cancel)
        self._closing.enter_context(stoppable(self._sockets.shut, self._ended))
        timer.start()
        self._cancel.on_set(self._ended.set)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def part(self, file: HubFile, url: str, offset: int, length: int) -> Piece:
        """Return `length` bytes of the file at `url` from `offset`, fewer where it ends.

        `file` is for messages. Raises BackendError, and Cancelled.
        """
        trusted, commit, sha256 = True, "", ""
        for _ in range(MAX_HOPS):
            origin = origin_of(url)
            # What the hub sends to never gets the token, and neither does the hub where somebody else sends back.
            trusted = trusted and origin == self._access.origin
            with self._answer(file, url, trusted, f"bytes={offset}-{offset + length - 1}") as answer:
                headers = answer.headers
                commit = commit or _matching(_COMMIT, headers.get("x-repo-commit", ""))
                named = headers.get("x-linked-etag") or (headers.get("etag", "") if trusted else "")
                sha256 = sha256 or _matching(_SHA256, named.removeprefix("W/").strip('"'))
                if answer.status_code not in _MOVED:
                    data, size = self._body(answer, file, trusted, offset, length)
                    return Piece(data, url, size, headers.get("etag", ""), commit, sha256)
                url = self._next(file, url, headers.get("location", ""))
        raise failures.sends_elsewhere(file, _host(url), f"it has been sent on {MAX_HOPS} times.")

    @contextlib.contextmanager
    def _answer(self, file: HubFile, url: str, trusted: bool, part: str) -> Iterator[httpx.Response]:
        """Ask for a part; the answer's body is read inside the block, or not at all."""
        import httpx

        self._check_ended(file, url)
        client = self._client(origin_of(url))
        key = {"authorization": f"Bearer {self._access.key}"} if trusted and self._access.key else {}
        try:
            request = client.build_request("GET", url, headers={"range": part, **key}, extensions={STREAMED: True})
            answer = sent(client, request, self._sockets, stream=True)
            try:
                yield answer
            finally:
                answer.close()
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            self._check_ended(file, url)
            if "location header" in str(error):
                # httpx reads where it is sent to, followed or not; its words would show that.
                raise failures.sends_elsewhere(file, _host(url), "to what is no address.") from None
            raise failures.line_failed(error, _host(url)) from error

    def _body(
        self, answer: httpx.Response, file: HubFile, trusted: bool, offset: int, length: int
    ) -> tuple[bytes, int]:
        """Return the part and the size of the whole file. Raises BackendError for whatever is not that part."""
        server, status, headers = _host(str(answer.url)), answer.status_code, answer.headers
        content_range = headers.get("content-range", "")
        if status == _BAD_RANGE and _NOTHING.fullmatch(content_range):
            return b"", 0
        if status != _PART:
            if answer.is_success:
                raise failures.no_ranges(file, server)
            said, _ = _up_to(answer, _REFUSAL_BYTES)
            token = bool(self._access.key)
            raise failures.refused(status, headers, said, file, server, hub=trusted, token=token)
        found = _CONTENT_RANGE.fullmatch(content_range)
        if not found:
            raise failures.nonsense(file, server, f"it names no part with a size: {printable(content_range)!r}.")
        first, last, size = (int(number) for number in found.groups())
        wanted = min(length, size - offset)
        if first != offset or last - first + 1 != wanted:
            what = f"{length} bytes from {offset} were wanted, it offers {printable(content_range)}."
            raise failures.nonsense(file, server, what)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise failures.nonsense(file, server, "it packed the part, which was not allowed.")
        data, more = _up_to(answer, wanted)
        if more or len(data) != wanted:
            told = f"more than {wanted}" if more else f"{len(data)} instead of {wanted}"
            raise failures.nonsense(file, server, f"it sent {told} bytes.")
        return data, size

    def _next(self, file: HubFile, url: str, location: str) -> str:
        """Return the address that an answer sends to. Raises BackendError if it is not followed."""
        from urllib.parse import urldefrag, urljoin

        # A signed address is as good as a key: only its host is told.
        here, hub = _host(url), self._access.origin
        try:
            following = urldefrag(urljoin(url, location)).url
            origin = origin_of(following)
        except (ValueError, BadOptions):
            raise failures.sends_elsewhere(file, here, "to what is no address.") from None
        if following == url:
            raise failures.sends_elsewhere(file, here, "it does not say where.")
        if hub.startswith("https:") and not origin.startswith("https:"):
            raise failures.sends_elsewhere(file, here, f"to {printable(origin)}, where nothing is encrypted.")
        if is_local(origin) and not is_local(hub):
            raise failures.sends_elsewhere(file, here, f"to this machine, {printable(origin)}.")
        return following

    def _client(self, origin: str) -> httpx.Client:
        """Return the one client for an origin, which keeps its connection; it knows no key."""
        import httpx

        client = self._clients.get(origin)
        if client is None:
            known = self._access if origin == self._access.origin else certificates_of(origin)
            try:
                options = client_options(Access(origin, "", known.ca_file), self._sockets, self._patience_s)
            except OSError as error:
                raise BadOptions(
                    "The certificates for Hugging Face cannot be read",
                    printable(str(error), 400),
                    "SSL_CERT_FILE and SSL_CERT_DIR name them.",
                ) from error
            client = self._clients[origin] = self._closing.enter_context(httpx.Client(**options))
        return client

    def _check_ended(self, file: HubFile, url: str) -> None:
        if self._cancel.is_set():
            raise Cancelled
        if self._ended.is_set() or time.monotonic() >= self._deadline:
            raise failures.too_slow(file, _host(url), self._patience_s)


def _up_to(answer: httpx.Response, most: int) -> tuple[bytes, bool]:
    """Return at most so many bytes of a body, and whether there are more. No more are taken in."""
    held = bytearray()
    for piece in answer.iter_raw():
        held += piece
        if len(held) > most:
            return bytes(held[:most]), True
    return bytes(held), False


def _matching(form: re.Pattern[str], text: str) -> str:
    return text if form.fullmatch(text) else ""


def _host(url: str) -> str:
    """Return whom a message names: a server, without what else is in the address."""
    return origin_of(url).partition("://")[2]
