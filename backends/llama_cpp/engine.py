"""The llama.cpp backend: a GGUF file, loaded into this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from backends.base import Availability, Backend, Cancel, ChatRequest, Loaded, Message, TokenCount
from backends.errors import BackendError, BadModelFile, NotInstalled
from backends.events import ChatEvent, LoadProgress
from backends.llama_cpp import binding
from backends.llama_cpp.answer import answer
from backends.llama_cpp.context import check_options, context_notes
from backends.llama_cpp.loading import OpenModel, open_on
from backends.llama_cpp.model import check_file
from backends.llama_cpp.options import LlamaCppOptions
from backends.llama_cpp.threads import allowed_cpus, parse_cpus, pin
from backends.reasoning import initial_state

_CAPABILITIES = ("continue", "exact_tokens", "seed", "prefix_reuse")


class LlamaCppBackend(Backend):
    """Runs a GGUF file on the CPU, on a GPU, or on both."""

    name = "llama_cpp"
    title = "llama.cpp"
    Options: ClassVar[type[msgspec.Struct]] = LlamaCppOptions

    def __init__(self) -> None:
        self._model: OpenModel | None = None
        self._cpus_before: set[int] | None = None

    @classmethod
    def check(cls) -> Availability:
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
        gpu = binding.first_gpu()
        try:
            opened = open_on(lib, gpu, path, options, report, cancel, notes)
        except BaseException:
            self._unpin()
            raise
        self._model = opened
        notes += context_notes(options, opened.trained_context)
        if opened.template.note:
            notes.append(opened.template.note)
        return Loaded(
            context=opened.decoder.capacity,
            trained_context=opened.trained_context or None,
            layers=opened.shape.layers,
            gpu_layers=max(0, opened.engine_layers - 1),
            output_on_gpu=opened.engine_layers > 0,
            model_bytes=opened.shape.weight_bytes,
            load_s=time.monotonic() - started,
            device=gpu.description if gpu and opened.engine_layers else "CPU",
            notes=tuple(notes),
        )

    def count_tokens(self, messages: Sequence[Message]) -> TokenCount:
        from backends.template import render

        model = self._opened()
        return TokenCount(len(model.vocabulary.prompt(render(model.template, messages))))

    def chat(self, request: ChatRequest, cancel: Cancel) -> Iterator[ChatEvent]:
        """Answer; a later call, or `unload`, ends one that was not read to its end with a BackendError."""
        from backends.template import append_partial, render

        model = self._opened()
        text = append_partial(render(model.template, request.messages), request.partial, request.reasoning)
        prompt = model.vocabulary.prompt(text)
        if not prompt:
            hint = "Use another file of this model."
            raise BadModelFile("The model's chat template gives an empty prompt", "It wrote nothing.", hint)
        state = initial_state(request.reasoning, text, request.partial)
        yield from answer(model.lib, model.decoder, model.vocabulary, prompt, request.sampling, state, cancel)

    def unload(self) -> None:
        model, self._model = self._model, None
        if model is not None:
            model.free()
        self._unpin()

    def _opened(self) -> OpenModel:
        if self._model is None:
            raise BackendError("No model is loaded", "llama.cpp was asked before it had one.", "Load a model first.")
        return self._model

    def _unpin(self) -> None:
        before, self._cpus_before = self._cpus_before, None
        if before:
            pin(before)
