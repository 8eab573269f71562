"""Ollama keeps every promise of the backend interface: against a scripted server, with each kind of chat template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from backends.conformance import BackendConformance, Failing, Setup
from backends.errors import BadModelFile, BadOptions, ServerError, ServerUnreachable
from backends.ollama import OllamaBackend
from tests.backends import fake_ollama
from tests.backends.fake_ollama import FakeModel, FakeOllama, Handler

THOUGHT = "Let me see what there is to say about the sea, and then say the most important of it first."
SAID = "The sea is wide, it is salty, and it is where the rivers go when they have seen enough of the land."
LONG = " ".join(f"wave {number}" for number in range(2000))
WORDS = "Ünïcödé 海は広い 🐋🌊 naïve façade Ελλάδα море שלום"


class _OllamaConformance(BackendConformance):
    backend = OllamaBackend
    engine_modules = ("ollama", "httpx", "pydantic")
    stop_bound_s = 1.0
    server: FakeOllama
    template = fake_ollama.GO_OPEN
    thinks = False

    @pytest.fixture(autouse=True)
    def _server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        with FakeOllama() as self.server:
            monkeypatch.setenv("OLLAMA_HOST", self.server.url)
            yield

    def _setup(self, mind: str, **changes: Any) -> Setup:
        name = f"m{len(self.server.models)}:latest"
        capabilities = ("completion", "thinking") if self.thinks else ("completion",)
        trained = changes.pop("trained", 8192)
        self.server.models[name] = FakeModel(lambda _question: mind, self.template, capabilities, trained)
        options = {"host": self.server.url, **changes.pop("options", {})}
        return Setup(name, options, **changes)

    def plain(self) -> Setup:
        return self._setup(SAID, text=SAID)

    def slow_decode(self) -> Setup:
        setup = self._setup(LONG)
        self.server.token_s = 0.01
        return setup

    def broken(self) -> Sequence[Failing]:
        self.server.models["embedder:latest"] = FakeModel(capabilities=("embedding",))
        here = {"host": self.server.url}
        return [
            Failing("a model that cannot chat", Setup("embedder", here), BadModelFile),
            Failing("a host that is none", Setup("x", {"host": "http://a b"}), BadOptions),
            Failing("a server that is not there", Setup("x", {"host": "http://127.0.0.1:9"}), ServerUnreachable),
        ]

    def missing_model(self) -> Setup:
        return Setup("no-such-model", {"host": self.server.url})

    def thinking(self) -> Setup:
        return self._setup(f"<think>\n{THOUGHT}\n</think>\n\n{SAID}", text=SAID)

    def empty_answer(self) -> Setup:
        return self._setup("")

    def unicode(self) -> Setup:
        return self._setup(WORDS, text=WORDS)

    def slow_load(self) -> Setup:
        setup = self._setup(SAID)
        self.server.load_s = 1.5
        return setup

    def slow_prefill(self) -> Setup:
        setup = self._setup(SAID)
        self.server.prefill_s = 2.0
        return setup

    def small_context(self) -> Setup:
        return self._setup(SAID, options={"context": 256})

    def full_context(self) -> Setup:
        return self._setup(LONG, options={"context": 256})

    def failing_answer(self) -> Failing:
        def fault(handler: Handler, path: str, body: dict[str, Any]) -> bool:
            if path != "/api/chat" or not body.get("messages"):
                return False
            handler.begin()
            for word in ("The", " sea", " is"):
                handler.line(fake_ollama.said_in(False, "", word))
            handler.line({"error": "llama-server process has terminated: signal: killed"})
            handler.end()
            return True

        setup = self._setup(SAID)
        self.server.fault = fault
        return Failing("a server that fails in mid-answer", setup, ServerError)

    def held_bytes(self) -> int:
        return sum(self.server.models[name].size for name in list(self.server.loaded))

    def sent(self) -> str:
        return "\n".join(msgspec.json.encode(asked).decode() for asked in list(self.server.asked))


class TestOllamaWithAnOpenTemplate(_OllamaConformance):
    """As most models of Ollama's library: the tags of a thought come in the text."""


class TestOllamaThatTakesTheThoughtOut(_OllamaConformance):
    """As `deepseek-r1`: the server itself splits the thought off, unless the answer goes on."""

    thinks = True


class TestOllamaWithTheModelsOwnTemplate(_OllamaConformance):
    """As an imported GGUF: Jinja, so an answer goes on with a prompt that was rendered here."""

    template = fake_ollama.JINJA


class TestOllamaWithATemplateThatEndsEachMessage(_OllamaConformance):
    """It says that it cannot go on with an answer."""

    template = fake_ollama.GO_CLOSED
