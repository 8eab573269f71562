"""llama.cpp keeps every promise of the interface, with a real model.

What a small model would not say by itself, such as a thought, is put into its mouth token by token: each is run
through the engine as if it had been chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends.base import Message, Sampling
from backends.conformance import BackendConformance, Failing, Setup
from backends.errors import BackendError, BadModelFile, BadOptions
from backends.llama_cpp import LlamaCppBackend, answer, binding
from backends.llama_cpp.decode import Decoder
from backends.llama_cpp.tokens import Vocabulary

pytestmark = pytest.mark.alone  # It weighs the process, in which nothing else may be freed or kept meanwhile.
THOUGHT = "They ask about the sea. It is large, and it is blue, and there are fish in it."
TEXT = "The sea is wide and blue, and nobody has ever seen the whole of it at once."
BEFORE, BEHIND = f"<think>\n{THOUGHT}\n</think>\n\n", TEXT
UNICODE = "Das Meer: 海は広いな、大きいな 🌊 ﷽ 👩‍👩‍👧‍👦 — ўзбек."
STORY = (Message("user", "Write a very long story about a dragon and its castle."),)
LONG = (Message("user", "The quick brown fox jumps over the lazy dog. " * 170),)
# One thread: on a busy machine two of them wait for each other at every operation.
OPTIONS: dict[str, Any] = {"context": 512, "threads": 1}
GREEDY = Sampling(temperature=0, seed=1, max_tokens=24)


class Prompter:
    """Chooses the tokens of `before` and `behind`, then the end; a thought that is closed goes on with `behind`.

    With a prompt that ends in a part of the text it goes on behind that part.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.before = self.behind = ""
        self._lib: Any = binding.library()
        self._queue: list[int] = []
        self._rest: list[int] = []
        self._end = -1
        self._chains, self._accept = answer.sampler_chain, self._lib.llama_sampler_accept
        patch.setattr(answer, "sampler_chain", self._chain)
        patch.setattr(self._lib, "llama_sampler_sample", self._choose)
        patch.setattr(self._lib, "llama_sampler_accept", self._closed)

    @contextmanager
    def _chain(self, lib: Any, vocabulary: Vocabulary, sampling: Sampling, prompt: Sequence[int]) -> Iterator[int]:
        told = b"".join(vocabulary._read_piece(token, special=True) for token in prompt).decode(errors="replace")
        said = told.rpartition("<|im_start|>assistant\n")[2]
        whole = self.before + self.behind
        assert whole.startswith(said), f"{said!r} is no beginning of {whole!r}"
        self._queue = vocabulary.tokenize(self.before[len(said) :])
        self._rest = vocabulary.tokenize(self.behind[max(0, len(said) - len(self.before)) :])
        self._end = lib.llama_vocab_eos(vocabulary.handle)
        with self._chains(lib, vocabulary, sampling, prompt) as chain:
            yield chain

    def _choose(self, _chain: int, _context: int, _place: int) -> int:
        if not self._queue:
            self._queue, self._rest = self._rest, []
        return self._queue.pop(0) if self._queue else self._end

    def _closed(self, chain: int, token: int) -> None:
        self._queue = []
        self._accept(chain, token)


class TestLlamaCpp(BackendConformance):
    backend = LlamaCppBackend
    engine_modules = ("llama_cpp",)

    @pytest.fixture(autouse=True)
    def _model(self, starter_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gguf, self.folder, self.patch = starter_gguf, tmp_path, monkeypatch

    def asked(self, messages: tuple[Message, ...] = (Message("user", "Tell me about the sea."),), **more: Any) -> Setup:
        return Setup(str(self.gguf), {**OPTIONS, **more}, messages, GREEDY)

    def prompted(self, before: str, behind: str, thought: str | None = None) -> Setup:
        prompter = Prompter(self.patch)
        prompter.before, prompter.behind = before, behind
        sampling = Sampling(temperature=0, seed=1)
        return Setup(str(self.gguf), OPTIONS, sampling=sampling, text=behind, thought=thought)

    def plain(self) -> Setup:
        return self.asked()

    def slow_decode(self) -> Setup:
        return msgspec.structs.replace(
            self.asked(STORY, context=2048), sampling=Sampling(temperature=0, max_tokens=800)
        )

    def slow_prefill(self) -> Setup:
        return self.asked(LONG, context=2560)

    def broken(self) -> list[Failing]:
        page, half = self.folder / "page.gguf", self.folder / "half.gguf"
        page.write_bytes(b"<html>Not found</html>")
        half.write_bytes(self.gguf.read_bytes()[: self.gguf.stat().st_size // 2])
        return [
            Failing("a web page", Setup(str(page), OPTIONS), BadModelFile),
            Failing("half a model", Setup(str(half), OPTIONS), BadModelFile),
            Failing("a folder", Setup(str(self.folder), OPTIONS), BadModelFile),
            Failing(
                "an option that goes with no other", self.asked(kv_cache="q8_0", flash_attention="off"), BadOptions
            ),
            Failing("an option out of its range", self.asked(context=1), BadOptions),
        ]

    def missing_model(self) -> Setup:
        return Setup(str(self.folder / "not-there.gguf"), OPTIONS)

    def thinking(self) -> Setup:
        return self.prompted(BEFORE, BEHIND, THOUGHT + "\n")

    def empty_answer(self) -> Setup:
        return self.prompted("", "")

    def unicode(self) -> Setup:
        return self.prompted("", UNICODE)

    def slow_load(self) -> None:
        pytest.skip("the starter model is loaded in a moment: it is stopped at its first report instead")

    def small_context(self) -> Setup:
        return self.asked(context=256)

    def full_context(self) -> Setup:
        return msgspec.structs.replace(self.asked(STORY, context=256), sampling=Sampling(temperature=0, seed=1))

    def failing_answer(self) -> Failing:
        extend, singles = Decoder.extend, 0

        def fail_later(decoder: Decoder, tokens: Sequence[int]) -> int:
            nonlocal singles
            singles += len(tokens) == 1
            if singles > 10:
                raise BackendError("The engine failed while it computed", "As asked.", "Try again.")
            return extend(decoder, tokens)

        self.patch.setattr(Decoder, "extend", fail_later)
        return Failing("an engine that fails in mid-answer", self.asked(), BackendError)

    def held_bytes(self) -> int | None:
        """Resident memory of this process: weights, KV cache and buffers are in it."""
        status = Path("/proc/self/status")
        if not status.exists():
            return None
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))
