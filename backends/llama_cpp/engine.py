"""The llama.cpp backend: a GGUF file, loaded into this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from backends.base import Availability, Backend, Cancel, ChatRequest, Loaded, Message, TokenCount
from backends.chat_template import prompt_tokens
from backends.errors import BackendError, NotInstalled, OutOfMemory
from backends.events import ChatEvent, Done, LoadProgress, Reasoning, Text
from backends.fitting import context_notes
from backends.gguf.files import part_names
from backends.hardware.cpu_limits import allowed_cpus
from backends.llama_cpp import binding
from backends.llama_cpp.answer import answer
from backends.llama_cpp.context import check_options, setup_of
from backends.llama_cpp.loading import OpenModel, open_on
from backends.llama_cpp.model import HostOutOfMemory, check_file
from backends.llama_cpp.offload import find_card
from backends.llama_cpp.options import LlamaCppOptions
from backends.llama_cpp.rates import note_rate, reading
from backends.llama_cpp.streaming import bus
from backends.llama_cpp.threads import parse_cpus, pin
from backends.llama_cpp.tuning import tune_when_idle
from backends.llama_cpp.warm import WarmChats
from backends.planning import learned
from backends.planning.speed import traffic
from backends.reasoning import initial_state

_CAPABILITIES = ("continue", "exact_tokens", "seed", "prefix_reuse", "answer_now")
_PEACE_S = 1.0


class LlamaCppBackend(Backend):
    """Runs a GGUF file on the CPU, on a GPU, or on both."""

    name = "llama_cpp"
    title = "llama.cpp"
    Options: ClassVar[type[msgspec.Struct]] = LlamaCppOptions

    def __init__(self) -> None:
        self._chats: WarmChats | None = None
        self._tuned = False
        self._cpus_before: set[int] | None = None

    @classmethod
    def check(cls, options: Any = None) -> Availability:  # noqa: ARG003
        try:
            gpu = bool(binding.library().llama_supports_gpu_offload())
            version = binding.version()
            blind = binding.blind()
        except NotInstalled as error:
            return Availability(ready=False, detail=error.detail, hint=error.hint)
        except Exception as error:  # noqa: BLE001 - whatever a foreign build does, this only tells of it
            return Availability(ready=False, detail=f"{type(error).__name__}: {error}", hint=binding.INSTALL_HINT)
        detail, hint = (binding.BLIND, binding.GPU_BUILD_HINT) if blind else ("", "")
        return Availability(True, version, gpu, detail, hint, _CAPABILITIES)

    def load(
        self, model: str, options: LlamaCppOptions, report: Callable[[LoadProgress], None], cancel: Cancel
    ) -> Loaded:
        """Load a GGUF file. Raises Cancelled, ModelNotFound, BadModelFile, BadOptions, OutOfMemory, NotInstalled."""
        self.unload()
        started = time.monotonic()
        path = Path(model).expanduser()
        check_options(options)
        cpus = parse_cpus(options.cpu_affinity)
        check_file(path)
        lib = binding.library()
        notes: list[str] = []
        if cpus:
            before = allowed_cpus()
            if pin(cpus):
                self._cpus_before = before
            else:
                notes.append("cpu_affinity has no effect: this system cannot pin processes.")
        gpu = find_card()
        mapped = [Path(part) for part in part_names(str(path))] if options.mmap else []
        try:
            bus.watch(mapped)
            opened = open_on(lib, gpu, path, options, report, cancel, notes)
            bus.watch(mapped)
        except BaseException:
            self._unpin()
            raise
        self._chats, self._tuned = WarmChats(opened), False
        notes += context_notes(options.context, opened.trained_context)
        if opened.template.note:
            notes.append(opened.template.note)
        return Loaded(
            context=opened.decoder.capacity,
            trained_context=opened.trained_context or None,
            layers=opened.shape.layers,
            gpu_layers=max(0, opened.engine_layers - 1 - bool(opened.held)),
            output_on_gpu=opened.engine_layers > 0,
            model_bytes=lib.llama_model_size(opened.handle),
            load_s=time.monotonic() - started,
            device=_device(opened),
            notes=tuple(notes),
            memory_read_bytes=_memory_reads(opened),
            streamed_bytes=opened.streamed_bytes,
        )

    def count_tokens(self, messages: Sequence[Message]) -> TokenCount:
        model = self._opened()
        return TokenCount(len(prompt_tokens(model.template, model.vocabulary, messages)[1]))

    def chat(self, request: ChatRequest, cancel: Cancel) -> Iterator[ChatEvent]:
        """Answer; a later call, or `unload`, ends one that was not read to its end with a BackendError."""
        chats = self._warm()
        model, partial = chats.model, request.partial
        text, prompt = prompt_tokens(model.template, model.vocabulary, request.messages, partial, request.reasoning)
        said = [partial.text] if partial else []
        began = None
        try:
            for event in answer(
                model.lib,
                model.decoder,
                model.vocabulary,
                prompt,
                request.sampling,
                initial_state(request.reasoning, text, partial),
                cancel,
                continued=partial is not None,
                prepare=lambda: chats.enter(request.chat, prompt, cancel),
            ):
                if began is None and isinstance(event, Reasoning | Text):
                    began = reading(model)
                if isinstance(event, Text):
                    said.append(event.text)
                elif isinstance(event, Done):
                    if event.reason == "stop":
                        chats.answered(request.messages, "".join(said))
                    note_rate(model, event, began)
                yield event
        except HostOutOfMemory:
            raise
        except OutOfMemory:
            if model.gpu is not None:
                learned.raise_margin(model.gpu.description, learned.STEP_BYTES)
            raise

    def settle(self, cancel: Cancel) -> None:
        """Read the answer without its thoughts, and after a second of peace find the best number of threads."""
        if self._chats is None:
            return
        self._chats.settle(cancel)
        if not self._tuned and not cancel.wait(_PEACE_S):
            self._tuned = tune_when_idle(self._chats.model, cancel)

    def forget(self, chat: str) -> None:
        """Delete what is kept of a conversation. Raises Problem if a file of it stays behind."""
        if self._chats is not None:
            self._chats.forget(chat)

    def unload(self) -> None:
        chats, self._chats = self._chats, None
        if chats is not None:
            chats.leave()
            chats.model.free()
            bus.forget()
        self._unpin()

    def _opened(self) -> OpenModel:
        return self._warm().model

    def _warm(self) -> WarmChats:
        if self._chats is None:
            raise BackendError("No model is loaded", "llama.cpp was asked before it had one.", "Load a model first.")
        return self._chats

    def _unpin(self) -> None:
        before, self._cpus_before = self._cpus_before, None
        if before:
            pin(before)


def _device(model: OpenModel) -> str:
    """Return what computes the layers: of several cards of one name, which one."""
    if model.gpu is None or not model.engine_layers:
        return "CPU"
    alone = binding.gpu_descriptions().count(model.gpu.description) < 2
    return model.gpu.description if alone else f"{model.gpu.description} ({model.gpu.name})"


def _memory_reads(opened: OpenModel) -> int:
    """Return the bytes of weights that each token reads out of main memory, or out of the file there."""
    setup = setup_of(opened.options)
    return traffic(opened.shape, setup, opened.engine_layers, depth=0, held=opened.held).memory
