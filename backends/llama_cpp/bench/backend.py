"""The backend in a measuring host: llama.cpp as it is, its clocks, and those it is compared with on demand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from backends.base import Availability, Backend, Cancel, ChatRequest, Loaded, Message, TokenCount
from backends.bench import contenders
from backends.bench.hosting import CPU, LOADED, CpuSample, LoadedFacts
from backends.bench.plan import sample_every
from backends.errors import BackendError
from backends.events import ChatEvent, Done, LoadProgress, Reasoning, Text, Timings, Usage
from backends.llama_cpp import binding
from backends.llama_cpp.bench.contenders import BareLoop, BindingChat
from backends.llama_cpp.bench.meter import Meter
from backends.llama_cpp.engine import LlamaCppBackend
from backends.llama_cpp.loading import OpenModel
from backends.llama_cpp.logs import buffers
from backends.llama_cpp.options import LlamaCppOptions


class MeasuringBackend(Backend):
    """Answers as `LlamaCppBackend` does, or as a contender. Writes what it measured into `folder`."""

    name = "llama_cpp"
    title = "llama.cpp"
    Options: ClassVar[type[msgspec.Struct]] = LlamaCppOptions

    def __init__(self, folder: Path, meter: Meter, log: list[str]) -> None:
        self._folder = folder
        self._meter = meter
        self._log = log
        self._inner = LlamaCppBackend()
        self._path = ""
        self._options = LlamaCppOptions()
        self._prompt: list[int] = []
        self._bare: BareLoop | None = None
        self._completion: BindingChat | None = None

    @classmethod
    def check(cls, options: Any = None) -> Availability:  # noqa: ARG003
        return LlamaCppBackend.check()

    def load(
        self, model: str, options: LlamaCppOptions, report: Callable[[LoadProgress], None], cancel: Cancel
    ) -> Loaded:
        self._path, self._options = str(Path(model).expanduser()), options
        loaded = self._inner.load(model, options, report, cancel)
        self._write(LOADED, LoadedFacts(f"llama-cpp-python {binding.version()}", buffers(self._log)))
        return loaded

    def count_tokens(self, messages: Sequence[Message]) -> TokenCount:
        return self._inner.count_tokens(messages)

    def chat(self, request: ChatRequest, cancel: Cancel) -> Iterator[ChatEvent]:
        """Answer, or let the contender that `request.chat` names do it, who says nothing but `Done`."""
        tokens = (request.sampling.max_tokens or 1) - 1
        match request.chat:
            case contenders.BARE_DECODE:
                yield self._done(decode_s=self._bare_loop().decode(self._prompt, request.sampling, tokens))
            case contenders.BARE_PREFILL:
                yield self._done(prefill_s=self._bare_loop().prefill(self._prompt))
            case contenders.IN_PROCESS:
                yield self._done(decode_s=self._in_process(request, cancel))
            case contenders.COMPLETION:
                yield self._done(decode_s=self._chat().decode(request.messages, request.sampling, tokens))
            case _:
                yield from self._answer(request, cancel)

    def settle(self, cancel: Cancel) -> None:
        self._inner.settle(cancel)

    def forget(self, chat: str) -> None:
        self._inner.forget(chat)

    def unload(self) -> None:
        for contender in (self._bare, self._completion):
            if contender is not None:
                contender.close()
        self._bare = self._completion = None
        self._inner.unload()

    def _answer(self, request: ChatRequest, cancel: Cancel) -> Iterator[ChatEvent]:
        samples: list[CpuSample] = []
        every = sample_every(request.sampling.max_tokens or 0)
        seen = due = 0
        for event in self._inner.chat(request, cancel):
            match event:
                case Reasoning(tokens=more) | Text(tokens=more):
                    seen += more
                    if seen >= due:
                        samples.append(CpuSample(seen, self._meter.own_s()))
                        due = (seen // every + 1) * every
                case Done(usage=usage):
                    self._prompt = list(self._model().decoder.tokens[: usage.prompt_tokens or 0])
                    self._write(CPU, samples)
            yield event

    def _in_process(self, request: ChatRequest, cancel: Cancel) -> float:
        """Answer to nobody, without host, socket and spool; return the seconds of the tokens after the first."""
        started = ended = 0.0
        for event in self._inner.chat(msgspec.structs.replace(request, chat=""), cancel):
            if isinstance(event, Reasoning | Text) and event.tokens:
                ended = time.perf_counter()
                started = started or ended
        return ended - started

    def _model(self) -> OpenModel:
        return self._inner._opened()  # noqa: SLF001 - to compare with it takes the very model that it loaded

    def _bare_loop(self) -> BareLoop:
        if not self._prompt:
            raise BackendError("There is nothing to compare with", "No question came before.", "Ask one first.")
        if self._bare is None:
            self._bare = BareLoop(self._model(), self._options)
        return self._bare

    def _chat(self) -> BindingChat:
        if self._completion is None:
            self._completion = BindingChat(self._model(), self._path, self._options)
        return self._completion

    def _done(self, prefill_s: float | None = None, decode_s: float | None = None) -> Done:
        return Done("length", Usage(len(self._prompt)), Timings(prefill_s=prefill_s, decode_s=decode_s))

    def _write(self, name: str, value: Any) -> None:
        (self._folder / name).write_bytes(msgspec.json.encode(value))
