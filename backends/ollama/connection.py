"""The talk with one Ollama server: each request bounded, stoppable from any thread, each failure typed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from backends.errors import BackendError, ModelNotFound
from backends.fitting import overflow
from backends.http.client import SILENCE_S, STREAMED, client_options
from backends.http.failures import refusal, unreachable
from backends.http.lines import bounded_lines
from backends.http.sockets import Sockets
from backends.ollama.address import Address
from backends.ollama.dialect import engine_error, garbage, too_long
from backends.origins import Access, place_of

if TYPE_CHECKING:
    import httpx
    import ollama

LINE_LIMIT = 16 * 1024 * 1024
_NOT_FOUND = 404
_NO_BUFFERS = b"galloc->node_allocs"
"""How its engine gives up where compute buffers find no memory: an assertion that names none."""


class Model(msgspec.Struct, frozen=True):
    """What a server tells of a model. `capabilities` are its words, such as completion and thinking."""

    template: str
    capabilities: tuple[str, ...]
    trained_context: int | None
    blocks: int | None
    parameters: str
    has_system: bool


class Running(msgspec.Struct, frozen=True):
    """A model in a server's memory, in bytes. None is what an older server does not tell."""

    context: int | None
    size: int | None
    vram: int | None


class Connection:
    """One server. Blocking; `shut` may be called from any thread and ends whatever is being waited for."""

    def __init__(self, address: Address, access: Access, silence_s: float = SILENCE_S) -> None:
        """Connects only when asked something. Raises BadOptions for certificates that cannot be read."""
        import ollama

        self.server = address.shown
        self.place = place_of(access.origin)
        self._address, self._access = address, access
        self._sockets = Sockets()
        self._client: ollama.Client = ollama.Client(
            host=address.url,
            **client_options(access, self._sockets, silence_s),
        )
        # Its HTTP client is used directly where the library passes on neither `truncate` nor `shift`, splits lines at
        # characters that JSON leaves as they are (U+0085), and bounds nothing.
        self._http: httpx.Client = self._client._client  # noqa: SLF001
        if not access.key:
            # The library takes one from the environment, for whatever server: keys belong to origins.
            self._http.headers.pop("authorization", None)

    def version(self) -> str:
        """Return the server's version. Raises BackendError."""
        body = self.reply("GET", "/api/version")
        try:
            return msgspec.json.decode(body, type=dict[str, str])["version"][:64]
        except (msgspec.MsgspecError, KeyError) as error:
            raise garbage(body, self.server) from error

    def show(self, model: str) -> Model:
        """Look up a model. Raises ModelNotFound, BackendError."""
        with self._typed(model), self._read():
            shown = self._client.show(model)
        facts = shown.modelinfo or {}
        family = facts.get("general.architecture")
        return Model(
            template=shown.template or "",
            capabilities=tuple(shown.capabilities or ()),
            trained_context=_count(facts.get(f"{family}.context_length")),
            blocks=_count(facts.get(f"{family}.block_count")),
            parameters=shown.parameters or "",
            has_system=any(line.startswith(("SYSTEM ", "MESSAGE ")) for line in (shown.modelfile or "").splitlines()),
        )

    def running(self, model: str) -> Running | None:
        """Return how a model is loaded, None if it is not. Raises BackendError."""
        with self._typed(model), self._read():
            found = self._client.ps().models
        for entry in found:
            if full_name(entry.model or entry.name or "") == full_name(model):
                vram = None if entry.size_vram is None else int(entry.size_vram)
                return Running(_count(entry.context_length), _count(entry.size), vram)
        return None

    def reply(self, method: str, path: str, body: Any = None, model: str = "") -> bytes:
        """Ask for one whole answer. Raises BackendError."""
        with self._typed(model):
            answer = self._http.request(method, path, content=None if body is None else msgspec.json.encode(body))
            self._check(answer, model)
            return answer.content

    def has(self, path: str) -> bool:
        """Say whether there is anything at an address. Raises BackendError."""
        with self._typed(""):
            answer = self._http.request("HEAD", path)
            if answer.status_code == _NOT_FOUND:
                return False
            self._check(answer, "")
            return True

    def send(self, path: str, content: Iterator[bytes], size: int) -> None:
        """Send a file piece by piece. Raises BackendError, and whatever `content` raises."""
        with self._typed(""):
            headers = {"content-length": str(size), "content-type": "application/octet-stream"}
            self._check(self._http.request("POST", path, content=content, headers=headers), "")

    @contextlib.contextmanager
    def lines(self, path: str, body: Any, model: str) -> Iterator[Iterator[bytes]]:
        """Ask for an answer that comes line by line; leaving the block ends it. Raises BackendError."""
        with (
            self._typed(model),
            self._http.stream("POST", path, content=msgspec.json.encode(body), extensions={STREAMED: True}) as answer,
        ):
            self._check(answer, model)
            yield bounded_lines(answer.iter_bytes(), LINE_LIMIT)

    def refused(self, status: int, body: bytes, model: str, headers: Any = None) -> BackendError:
        """Return the error for an answer that is a refusal."""
        if status == _NOT_FOUND and model and b"not found" in body and b"page not found" not in body:
            # `pull` asks the server that the user has chosen; a preset's own is asked through that preset.
            command = f"deepseek-tui pull ollama:{model}" if self._address.chosen else f"ollama pull {model}"
            return ModelNotFound(
                f"Ollama has no model called {model}", f"Asked was {self.server}.", f"Fetch it: `{command}`."
            )
        said = engine_error(body)
        if lengths := too_long(said):
            return overflow(*lengths)
        if _NO_BUFFERS in said:
            said = said.replace(_NO_BUFFERS, b"out of memory, " + _NO_BUFFERS)
        return refusal(status, said, self.server, model=model, headers=headers)

    def brief(self, silence_s: float) -> Connection:
        """Return another connection to the same server, which waits no longer than so many seconds for a word."""
        return Connection(self._address, self._access, silence_s)

    def shut(self) -> None:
        """End what is being waited for. May be called from any thread."""
        self._sockets.shut()

    def close(self) -> None:
        """Free all connections."""
        self._http.close()

    def _check(self, answer: httpx.Response, model: str) -> None:
        """Raises BackendError unless the server agreed."""
        if not answer.is_success:
            raise self.refused(answer.status_code, answer.read(), model, answer.headers)

    @contextlib.contextmanager
    def _typed(self, model: str) -> Iterator[None]:
        """Turn refusals and the failures of the line into our errors."""
        import httpx
        import ollama

        try:
            yield
        except ollama.ResponseError as error:
            raise self.refused(error.status_code, error.error.encode(), model) from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            raise unreachable(error, self.server) from error

    @contextlib.contextmanager
    def _read(self) -> Iterator[None]:
        """Turn what the client library raises when it builds its values out of whatever JSON came."""
        try:
            yield
        except (ValueError, TypeError, AttributeError) as error:
            raise garbage(" ".join(str(error).split()).encode(), self.server) from error


def full_name(model: str) -> str:
    """Return a model's name with its tag, as `ps` lists it."""
    return (model if ":" in model.rpartition("/")[2] else f"{model}:latest").lower()


def _count(value: Any) -> int | None:
    """Return a positive whole number, None for anything else: 0 and nonsense mean unknown here."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
