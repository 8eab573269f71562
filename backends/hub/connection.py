"""The talk with Hugging Face and with where it keeps its files: parts of files, in bounded time, each failure typed."""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from backends.base import Cancel, Cancelled
from backends.errors import BackendError, BadOptions
from backends.http.client import SILENCE_S, STREAMED, client_options, sent, stoppable
from backends.http.sockets import Sockets
from backends.hub import failures
from backends.hub.address import HubFile, certificates_of, hub_access
from backends.origins import Access, is_local, origin_of
from backends.shown import printable

if TYPE_CHECKING:
    import httpx

MAX_HOPS = 6
_MOVED = {301, 302, 303, 307, 308}
_OK, _PART, _BAD_RANGE = 200, 206, 416
_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Refusals that say nothing about the next try."""
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


class Sending(msgspec.Struct, frozen=True):
    """A file that a server begins to send, `size` bytes long as a whole, from `offset` on.

    `etag`, `commit` and `sha256` are as in a `Piece`. `chunks` can be read once, inside the `with` block.
    """

    offset: int
    size: int
    etag: str
    commit: str
    sha256: str
    chunks: Iterator[bytes]


class _Way(msgspec.Struct, frozen=True):
    """How an answer was reached: whether it is the hub's own, and what the hub said on the way."""

    url: str
    trusted: bool
    commit: str
    sha256: str
    linked_size: int | None


class Connection:
    """One talk, inside a `with` block: it ends `patience_s` seconds after its beginning, or when `cancel` is set.

    With `patience_s` None it lasts as long as it takes, but no answer may be silent for more than `silence_s`.
    After an error `again_s` says whether the same may work in a while: None where it will not, else after how many
    seconds at least. `bad_range` says that the server does not begin where it should.
    """

    def __init__(
        self, server: str, patience_s: float | None, cancel: Cancel | None = None, silence_s: float = SILENCE_S
    ) -> None:
        """Connects only when asked something. Raises Unauthorized, BadOptions for what the settings say of `server`."""
        self.again_s: float | None = None
        self.bad_range = False
        self._access = hub_access(server)
        self._patience_s = math.inf if patience_s is None else patience_s
        self._silence_s = min(silence_s, self._patience_s)
        self._cancel = cancel or Cancel()
        self._ended = Cancel()
        self._sockets = Sockets()
        self._clients: dict[str, httpx.Client] = {}
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Connection:
        self._deadline = time.monotonic() + self._patience_s
        self._closing.enter_context(stoppable(self._sockets.shut, self._ended))
        if self._patience_s != math.inf:
            timer = threading.Timer(self._patience_s, self._ended.set)
            timer.name, timer.daemon = "patience", True
            self._closing.callback(timer.cancel)
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
        with self._found(file, url, f"bytes={offset}-{offset + length - 1}") as (answer, way):
            data, size = self._body(answer, file, way.trusted, offset, length)
            return Piece(data, way.url, size, answer.headers.get("etag", ""), way.commit, way.sha256)

    def facts(self, file: HubFile, url: str) -> Piece:
        """Return what the hub says of the file at `url`: a `Piece` without data.

        Unlike `part` it takes a server that sends no parts. Raises BackendError, and Cancelled.
        """
        with self._found(file, url, "bytes=0-0") as (answer, way):
            nothing = _NOTHING.fullmatch(answer.headers.get("content-range", ""))
            if answer.status_code == _BAD_RANGE and nothing:
                size = 0
            else:
                _, size = self._sent(answer, file, way, 0)
            _drain(answer)
            return Piece(b"", way.url, size, answer.headers.get("etag", ""), way.commit, way.sha256)

    @contextlib.contextmanager
    def sending(self, file: HubFile, url: str, offset: int) -> Iterator[Sending]:
        """Let the server send the file at `url` from `offset` to its end; it may begin at 0 instead.

        Raises BackendError, and Cancelled, inside the block too.
        """
        with self._found(file, url, f"bytes={offset}-") as (answer, way):
            offset, size = self._sent(answer, file, way, offset)
            chunks = self._chunks(answer, file, way, size - offset)
            yield Sending(offset, size, answer.headers.get("etag", ""), way.commit, way.sha256, chunks)

    def json(self, file: HubFile, url: str, most: int) -> bytes:
        """Return an answer of the hub's API that holds at most so many bytes. Raises BackendError, and Cancelled."""
        with self._found(file, url, "") as (answer, way):
            server = _host(way.url)
            if answer.status_code != _OK:
                raise self._refused(answer, file, server, hub=way.trusted)
            self._check_kind(answer, file, server)
            data, more = _up_to(answer, most)
            if more:
                raise failures.nonsense(file, server, f"it sent more than {most >> 20} MiB of JSON.")
            return data

    @contextlib.contextmanager
    def _found(self, file: HubFile, url: str, part: str) -> Iterator[tuple[httpx.Response, _Way]]:
        """Ask for a part and follow where it is sent to; the answer's body is read inside the block, or not at all."""
        self.again_s, self.bad_range = None, False
        trusted, commit, sha256, linked = True, "", "", None
        for _ in range(MAX_HOPS):
            origin = origin_of(url)
            # What the hub sends to never gets the token, and neither does the hub where somebody else sends back.
            trusted = trusted and origin == self._access.origin
            with self._answer(file, url, trusted, part) as answer:
                headers = answer.headers
                commit = commit or _matching(_COMMIT, headers.get("x-repo-commit", ""))
                named = headers.get("x-linked-etag") or (headers.get("etag", "") if trusted else "")
                sha256 = sha256 or _matching(_SHA256, named.removeprefix("W/").strip('"'))
                if trusted and linked is None:
                    linked = _number(headers.get("x-linked-size", ""))
                if answer.status_code not in _MOVED:
                    yield answer, _Way(url, trusted, commit, sha256, linked)
                    return
                _drain(answer)
                url = self._next(file, url, headers.get("location", ""))
        raise failures.sends_elsewhere(file, _host(url), f"it has been sent on {MAX_HOPS} times.")

    @contextlib.contextmanager
    def _answer(self, file: HubFile, url: str, trusted: bool, part: str) -> Iterator[httpx.Response]:
        """Ask for a part; the answer's body is read inside the block, or not at all."""
        import httpx

        self._check_ended(file, url)
        client = self._client(origin_of(url))
        asked = {"range": part} if part else {}
        if trusted and self._access.key:
            asked["authorization"] = f"Bearer {self._access.key}"
        try:
            request = client.build_request("GET", url, headers=asked, extensions={STREAMED: True})
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
            told = failures.line_failed(error, _host(url))
            self.again_s = None if failures.is_lasting(told) else 0.0
            raise told from error

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
            raise self._refused(answer, file, server, hub=trusted)
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

    def _sent(self, answer: httpx.Response, file: HubFile, way: _Way, offset: int) -> tuple[int, int]:
        """Return from where on the file is sent, and how long it is. Raises BackendError for what is no file."""
        server, status, headers = _host(way.url), answer.status_code, answer.headers
        if status not in {_OK, _PART}:
            raise self._refused(answer, file, server, hub=way.trusted)
        self._check_kind(answer, file, server)
        if status == _OK:
            offset, size = 0, _number(headers.get("content-length", ""))
            if size is None:
                raise failures.nonsense(file, server, "it does not say how long the file is.")
        else:
            found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
            if not found or int(found[1]) != offset or not offset <= int(found[2]) < int(found[3]):
                what = f"it offers {printable(headers.get('content-range', ''))!r}, where {offset} on was wanted."
                raise failures.nonsense(file, server, what)
            size = int(found[3])
        if way.linked_size not in {None, size}:
            what = f"it says {way.linked_size} bytes at first, and {size} when it sends them."
            raise failures.nonsense(file, server, what)
        return offset, size

    def _chunks(self, answer: httpx.Response, file: HubFile, way: _Way, length: int) -> Iterator[bytes]:
        """Yield a body as it comes, which has to hold `length` bytes. Raises BackendError where it does not."""
        import httpx

        left = length
        try:
            for chunk in answer.iter_raw():
                if len(chunk) > left:
                    raise failures.nonsense(file, _host(way.url), f"it sent more than {length} bytes.")
                left -= len(chunk)
                yield chunk
        except httpx.HTTPError:
            self._check_ended(file, way.url)
            raise
        if left:
            self._check_ended(file, way.url)
            self.again_s = 0.0
            raise failures.broke_off(file, _host(way.url), left)

    def _refused(self, answer: httpx.Response, file: HubFile, server: str, *, hub: bool) -> BackendError:
        said, _ = _up_to(answer, _REFUSAL_BYTES)
        self.bad_range = answer.status_code == _BAD_RANGE
        if answer.status_code in _PASSING:
            self.again_s = failures.retry_after_s(answer.headers.get("retry-after", ""))
        token = bool(self._access.key)
        return failures.refused(answer.status_code, answer.headers, said, file, server, hub=hub, token=token)

    def _check_kind(self, answer: httpx.Response, file: HubFile, server: str) -> None:
        """Raise ServerError for a web page or a packed body where a file was wanted."""
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in {"text/html", "application/xhtml+xml"} and not file.file.lower().endswith((".html", ".htm")):
            said, _ = _up_to(answer, _REFUSAL_BYTES)
            raise failures.nonsense(file, server, failures.page(said))
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise failures.nonsense(file, server, "it packed the file, which was not allowed.")

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
                options = client_options(Access(origin, "", known.ca_file), self._sockets, self._silence_s)
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


def _drain(answer: httpx.Response) -> None:
    """Read a short body that nobody wants: its connection can be used again then."""
    length = _number(answer.headers.get("content-length", ""))
    if length is not None and length <= _REFUSAL_BYTES:
        _up_to(answer, length)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 19 else None


def _matching(form: re.Pattern[str], text: str) -> str:
    return text if form.fullmatch(text) else ""


def _host(url: str) -> str:
    """Return whom a message names: a server, without what else is in the address."""
    return origin_of(url).partition("://")[2]
