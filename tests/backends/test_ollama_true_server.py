"""The Ollama backend against a true server, with a true model: every promise, and what only a true server shows.

    OLLAMA_HOST=http://127.0.0.1:11434 python -m pytest -m ollama tests/backends/test_ollama_true_server.py

Models are made from the packaged starter model and deleted afterwards; DEEPSEEK_TUI_TEST_OLLAMA_MODEL names one that is
there already.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from backends.base import Cancel, Cancelled, Message, Partial, Sampling
from backends.conformance import BackendConformance, Failing, Setup
from backends.errors import BadOptions, ModelNotFound, ServerUnreachable
from backends.events import ChatEvent, Reasoning
from backends.ollama import OllamaBackend
from backends.ollama.connection import Connection
from backends.ollama.engine import _connect
from tests.backends import fake_ollama
from tests.backends.ollama_talk import HELLO, Talk, later, until

_HOST = os.environ.get("OLLAMA_HOST", "")
_MODEL = os.environ.get("DEEPSEEK_TUI_TEST_OLLAMA_MODEL", "")
_OPEN, _THINK = "deepseek-tui-test:open", "deepseek-tui-test:think"

pytestmark = pytest.mark.ollama
if not _HOST:
    _RUN = "OLLAMA_HOST=http://127.0.0.1:11434 python -m pytest -m ollama"
    pytest.skip(f"no Ollama server is named: {_RUN}", allow_module_level=True)

CAPITAL = (Message("user", "What is the capital of France? Answer in one short sentence."),)
STORY = (Message("user", "Tell me a very long story about a fox and a dog who travel around the world."),)
LONG = (Message("user", "The quick brown fox jumps over the lazy dog. " * 330),)
GREEDY = Sampling(temperature=0.0, seed=1)


@pytest.fixture(scope="module")
def models(starter_gguf: Path) -> Iterator[None]:
    import ollama

    client = ollama.Client(host=_HOST)
    digest = client.create_blob(starter_gguf)
    for name, template in ((_OPEN, fake_ollama.GO_OPEN), (_THINK, fake_ollama.GO_THINK)):
        client.create(name, files={"starter.gguf": digest}, template=template, parameters={"stop": ["<|im_end|>"]})
        client.generate(name, keep_alive=0)  # what an earlier run may have left
    yield
    for name in (_OPEN, _THINK):
        client.delete(name)


@pytest.fixture
def line() -> Iterator[Connection]:
    """A line of our own to the server, to see what it does."""
    from backends.ollama import address

    connection = _connect(address.find(_HOST), 30.0)
    yield connection
    connection.close()


class Server:
    """What `Talk` asks of a server."""

    url = _HOST


def talk(model: str = "", **options: object) -> Talk:
    return Talk(Server(), model or _MODEL or _OPEN, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("models")
class TestTrueOllama(BackendConformance):
    backend = OllamaBackend
    engine_modules = ("ollama", "httpx", "pydantic")
    stop_bound_s = 2.0

    def _setup(self, messages: tuple[Message, ...], most: int, context: int = 1024) -> Setup:
        sampling = Sampling(temperature=0.0, seed=1, max_tokens=most)
        return Setup(_MODEL or _OPEN, {"host": _HOST, "context": context}, messages, sampling, reasoning="none")

    def plain(self) -> Setup:
        return self._setup(STORY, 40)

    def slow_decode(self) -> Setup:
        return self._setup(STORY, 800)

    def broken(self) -> Sequence[Failing]:
        return [
            Failing("a model that is not there", Setup("no-such-model:1b", {"host": _HOST}), ModelNotFound),
            Failing("an address that is none", Setup("x", {"host": "http://a b"}), BadOptions),
            Failing("a server that is not there", Setup("x", {"host": "http://127.0.0.1:9"}), ServerUnreachable),
        ]

    def missing_model(self) -> Setup:
        return Setup("no-such-model:1b", {"host": _HOST})

    def unicode(self) -> Setup | None:
        if _MODEL:
            return None  # it may say something else
        return self._setup((Message("user", "Repeat exactly: 海は広い 🐋 naïve Ελλάδα"),), 40)

    def small_context(self) -> Setup:
        return self._setup(CAPITAL, 20, 256)

    def full_context(self) -> Setup:
        return Setup(_MODEL or _OPEN, {"host": _HOST, "context": 256}, STORY, GREEDY, reasoning="none")

    def slow_prefill(self) -> Setup:
        return self._setup(LONG, 20, 4096)

    def held_bytes(self) -> int:
        """What the server says to hold of all models, on cards and beside them."""
        import ollama

        return sum(model.size or 0 for model in ollama.Client(host=_HOST).ps().models)

    def test_a_stop_string_that_does_not_come_changes_nothing(self) -> None:
        pytest.skip(
            "Ollama's engine drops what it holds back for a stop string when the limit of tokens ends an answer"
        )


@pytest.mark.usefixtures("models")
class TestWhatOnlyATrueServerShows:
    def test_an_answer_is_right_and_its_figures_are_there(self) -> None:
        with talk() as session:
            answer = session.ask(CAPITAL, sampling=Sampling(temperature=0.0, max_tokens=64))
        assert _MODEL or "Paris" in answer.text
        done = answer.done
        assert done.usage.prompt_tokens
        assert done.usage.output_tokens
        assert done.usage.cached_tokens is None
        assert done.timings.prefill_s
        assert done.timings.decode_s
        assert done.timings.tokens_per_second

    def test_a_model_is_there_after_load_and_gone_after_unload(self, line: Connection) -> None:
        with talk(context=512) as session:
            running = line.running(session.model)
            assert running is not None
            assert running.context == 512
            assert session.loaded is not None
            assert session.loaded.context == 512
            assert session.loaded.trained_context
            assert session.loaded.model_bytes
        assert line.running(session.model) is None

    def test_asking_does_not_load_anew(self, line: Connection) -> None:
        with talk(context=512) as session:
            for _ in range(2):
                assert session.ask(sampling=Sampling(max_tokens=4)).done.timings.load_s is None
            running = line.running(session.model)
            assert running is not None
            assert running.context == 512

    def test_what_others_loaded_stays_as_it_is(self, line: Connection) -> None:
        model = _MODEL or _OPEN
        line.reply("POST", "/api/chat", {"model": model, "messages": [], "options": {"num_ctx": 1024}}, model)
        try:
            with talk(context=512) as session:
                assert session.loaded is not None
                assert session.loaded.context == 1024
                assert session.ask(sampling=Sampling(max_tokens=4)).done.timings.load_s is None
            running = line.running(model)
            assert running is not None
            assert running.context == 1024
        finally:
            line.reply("POST", "/api/generate", {"model": model, "keep_alive": 0}, model)

    def test_a_stopped_load_leaves_nothing(self, line: Connection) -> None:
        cancel = Cancel()
        session = talk(context=2048)
        later(0.05, cancel.set)
        with contextlib.suppress(Cancelled):  # unless it was loaded in time
            session.load(cancel)
        session.backend.unload()
        assert until(lambda: line.running(session.model) is None)

    def test_an_answer_is_gone_on_with_where_it_was_cut(self) -> None:
        def said(most: int, partial: Partial | None = None) -> str:
            sampling = Sampling(temperature=0.0, seed=1, max_tokens=most)
            return session.ask(STORY, partial=partial, sampling=sampling, reasoning="none").text

        with talk() as session:
            if session.loaded is None or "continue" not in (session.loaded.capabilities or ()):
                pytest.skip("this model's template ends each message")
            whole = said(30)
            cut = whole.rindex(" ", 0, len(whole) * 2 // 3)
            assert whole[cut:].strip()[:12] in said(12, Partial(text=whole[:cut]))

    @pytest.mark.skipif(bool(_MODEL), reason="needs the template that opens a thought")
    def test_answer_now_closes_the_thought(self) -> None:
        cancel = Cancel()
        heard: list[ChatEvent] = []

        def hurry(event: ChatEvent) -> None:
            heard.append(event)
            cancel.hurried = sum(isinstance(event, Reasoning) for event in heard) >= 5

        with talk(_THINK) as session:
            answer = session.ask(CAPITAL, cancel=cancel, heard=hurry, sampling=Sampling(temperature=0.0, max_tokens=60))
        assert answer.thought
        assert answer.text
        assert answer.done.usage.reasoning_tokens
        assert (answer.done.usage.output_tokens or 0) > (answer.done.usage.reasoning_tokens or 0)

    def test_the_same_seed_gives_the_same_answer_and_another_one_another(self) -> None:
        def said(seed: int) -> str:
            return session.ask(
                STORY, sampling=Sampling(temperature=1.5, seed=seed, max_tokens=24), reasoning="none"
            ).text

        with talk() as session:
            session.ask(STORY, sampling=Sampling(max_tokens=1))
            assert said(5) == said(5) != said(6)

    def test_a_release_by_another_process_unloads(self, line: Connection) -> None:
        import msgspec

        with talk() as session:
            holding = msgspec.json.encode({"server": line._address.url, "model": session.model}).decode()
            OllamaBackend.release(holding)
            assert line.running(session.model) is None
            assert session.ask(HELLO, sampling=Sampling(max_tokens=2)).events, "it is loaded again by a question"
