"""The ExLlamaV2 backend: a folder in EXL2, GPTQ or FP16, whole on the cards of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from backends.base import Availability, Backend, Cancel, Cancelled, ChatRequest, Loaded, Message, TokenCount
from backends.chat_template import prompt_tokens
from backends.errors import BackendError
from backends.events import ChatEvent, LoadProgress
from backends.exllamav2 import binding
from backends.exllamav2.answer import answer
from backends.exllamav2.folder import read_folder
from backends.exllamav2.loading import OpenModel, give_back, open_model
from backends.exllamav2.options import ExLlamaV2Options
from backends.reasoning import initial_state

_CAPABILITIES = ("continue", "exact_tokens", "seed", "prefix_reuse", "answer_now")


class ExLlamaV2Backend(Backend):
    """Runs a model folder on NVIDIA cards: the fastest way for what fits them whole."""

    name = "exllamav2"
    title = "ExLlamaV2"
    Options: ClassVar[type[msgspec.Struct]] = ExLlamaV2Options

    def __init__(self) -> None:
        self._open: OpenModel | None = None
        self._turn = 0

    @classmethod
    def check(cls, options: Any = None) -> Availability:  # noqa: ARG003
        try:
            trouble = binding.find_trouble()
            if trouble.detail:
                return Availability(ready=False, gpu=False, detail=trouble.detail, hint=trouble.hint)
            version = binding.versions()
            detail = "Its kernels are compiled at the first start: some minutes." if binding.must_compile() else ""
        except Exception as error:  # noqa: BLE001 - whatever PyTorch does, this only tells of it
            return Availability(ready=False, detail=f"{type(error).__name__}: {error}"[:2000], hint=binding.INSTALL)
        return Availability(True, version, True, detail, capabilities=_CAPABILITIES)

    def load(
        self, model: str, options: ExLlamaV2Options, report: Callable[[LoadProgress], None], cancel: Cancel
    ) -> Loaded:
        """Load a folder. Raises Cancelled, ModelNotFound, BadModelFile, BadOptions, OutOfMemory, NotInstalled."""
        self.unload()
        if cancel.is_set():
            raise Cancelled
        started = time.monotonic()
        folder = read_folder(Path(model).expanduser())
        self._open = opened = open_model(folder, options, report, cancel)
        return Loaded(
            context=opened.context,
            trained_context=folder.trained_context,
            layers=folder.layers,
            gpu_layers=folder.layers,
            output_on_gpu=True,
            model_bytes=folder.weight_bytes,
            load_s=time.monotonic() - started,
            device=opened.device,
            notes=opened.notes,
            capabilities=_CAPABILITIES,
        )

    def count_tokens(self, messages: Sequence[Message]) -> TokenCount:
        model = self._opened()
        return TokenCount(len(prompt_tokens(model.template, model.vocabulary, messages)[1]))

    def chat(self, request: ChatRequest, cancel: Cancel) -> Iterator[ChatEvent]:
        """Answer; a later call, or `unload`, ends one that was not read to its end with a BackendError."""
        model, partial = self._opened(), request.partial
        self._turn = turn = self._turn + 1

        def check() -> None:
            if self._turn != turn:
                detail = "Another request began, or the model was unloaded."
                raise BackendError("This answer was given up", detail, "Ask again.")

        text, prompt = prompt_tokens(model.template, model.vocabulary, request.messages, partial, request.reasoning)
        yield from answer(
            model,
            prompt,
            text,
            request.sampling,
            initial_state(request.reasoning, text, partial),
            cancel,
            check,
            continued=partial is not None,
        )

    def unload(self) -> None:
        opened, self._open = self._open, None
        self._turn += 1
        if opened is not None:
            opened.close()
            libraries = opened.libraries
            del opened
            give_back(libraries)

    def _opened(self) -> OpenModel:
        if self._open is None:
            raise BackendError("No model is loaded", "ExLlamaV2 was asked before it had one.", "Load a model first.")
        return self._open
